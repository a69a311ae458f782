package llm

import (
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"
)

// Bounds is what the calls that share a [Budget] may spend together. Zero is no bound.
type Bounds struct {
	// Requests counts HTTP requests: first tries, retries, and those that found out what the endpoint supports.
	Requests int
	// Tokens counts prompt and completion tokens together.
	Tokens int
	// Money is in the currency of the price table. With it set, a model without a price is refused.
	Money float64
	// Wall is the time from the budget's making.
	Wall time.Duration
}

// Budget is what is left for one request of a person, shared by all calls to the model that serve it, also at the same
// time. Each call sets aside what it may need at most before it is sent and gives back what it did not use, so that
// calls at the same time cannot overdraw it together.
//
// Two amounts are guesses: the size of a prompt before the endpoint has counted it, and the tokens of an answer that
// broke off. The bounds hold up to these.
type Budget struct {
	bounds Bounds
	now    func() time.Time
	start  time.Time

	mu       sync.Mutex
	requests int
	usage    Usage
	money    float64
	heldTok  int
	heldCost float64
}

// NewBudget starts a budget, and its time, now.
func NewBudget(b Bounds) *Budget { return NewBudgetAt(b, time.Now) }

// NewBudgetAt starts a budget that goes by another clock, which must be that of [Config.Now].
func NewBudgetAt(b Bounds, now func() time.Time) *Budget {
	return &Budget{bounds: b, now: now, start: now()}
}

// Spent is what a budget's calls have used so far.
type Spent struct {
	Requests int           `json:"requests"`
	Usage    Usage         `json:"usage"`
	Money    float64       `json:"money,omitempty"`
	Wall     time.Duration `json:"wall_ns"`
}

// Spent reports what was used.
func (b *Budget) Spent() Spent {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Spent{b.requests, b.usage, b.money, b.now().Sub(b.start)}
}

// BudgetError says which bound was hit. It matches [ErrBudget].
type BudgetError struct {
	// Bound is "requests", "tokens", "money" or "time".
	Bound string
	// Limit is the bound, and Used what was used of it, both as they are shown.
	Limit, Used string
	// Unpriced is the model whose price is unknown, if that is why money could not be spent.
	Unpriced string
}

func (e *BudgetError) Error() string {
	if e.Unpriced != "" {
		return fmt.Sprintf("%v: money is bounded to %s, but what model %s costs is not known; set KGENT_MODEL_PRICE",
			ErrBudget, e.Limit, e.Unpriced)
	}
	return fmt.Sprintf("%v: %s of %s %s", ErrBudget, e.Used, e.Limit, e.Bound)
}

// Unwrap makes errors.Is find [ErrBudget].
func (e *BudgetError) Unwrap() error { return ErrBudget }

// hold is what one request has set aside.
type hold struct {
	tokens int
	cost   float64
	// max is what the request must bound its answer to; 0 is no bound.
	max int
	// tight is the bound that made max smaller than what the prompt allows; nil if none did.
	tight *BudgetError
}

// leastAnswer is the shortest answer, in tokens, that is worth asking for.
const leastAnswer = 64

// take sets aside one request with a prompt of so many tokens and an answer of at most max, 0 for whatever there is.
func (b *Budget) take(model string, prompt, max int, price *Price) (hold, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.bounds
	if err := b.timeLeft(); err != nil {
		return hold{}, err
	}
	if l.Requests > 0 && b.requests >= l.Requests {
		return hold{}, &BudgetError{Bound: "requests", Limit: strconv.Itoa(l.Requests), Used: strconv.Itoa(b.requests)}
	}
	h := hold{max: max}
	narrow := func(answer int, err *BudgetError) error {
		if answer < smaller(leastAnswer, max) {
			return err
		}
		if h.max == 0 || answer < h.max {
			h.max, h.tight = answer, err
		}
		return nil
	}
	if l.Tokens > 0 {
		used := b.usage.Total() + b.heldTok
		err := &BudgetError{Bound: "tokens", Limit: strconv.Itoa(l.Tokens), Used: strconv.Itoa(used)}
		if err := narrow(l.Tokens-used-prompt, err); err != nil {
			return hold{}, err
		}
	}
	if l.Money > 0 {
		if price == nil {
			return hold{}, &BudgetError{Bound: "money", Limit: money(l.Money), Unpriced: model}
		}
		used := b.money + b.heldCost
		left := l.Money - used - price.of(Usage{PromptTokens: prompt})
		err := &BudgetError{Bound: "money", Limit: money(l.Money), Used: money(used)}
		if left <= 0 {
			return hold{}, err
		}
		if price.Completion > 0 {
			// A cap beyond any model's reach says nothing; this also keeps the conversion in range.
			answer := math.Min(left*1e6/price.Completion, 1<<30)
			if err := narrow(int(answer), err); err != nil {
				return hold{}, err
			}
		}
	}
	h.tokens = prompt + h.max
	if price != nil {
		h.cost = price.of(Usage{PromptTokens: prompt, CompletionTokens: h.max})
	}
	b.requests++
	b.heldTok += h.tokens
	b.heldCost += h.cost
	return h, nil
}

// settle gives back what was set aside and books what was used. A request that was not sent after all is not counted.
func (b *Budget) settle(h hold, used Usage, cost float64, sent bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !sent {
		b.requests--
	}
	b.heldTok -= h.tokens
	b.heldCost -= h.cost
	b.usage = b.usage.plus(used)
	b.money += cost
}

// deadline is when the time is up; false without a bound.
func (b *Budget) deadline() (time.Time, bool) {
	return b.start.Add(b.bounds.Wall), b.bounds.Wall > 0
}

// timeLeft returns the error of a budget whose time is up.
func (b *Budget) timeLeft() error {
	used := b.now().Sub(b.start)
	if b.bounds.Wall > 0 && used >= b.bounds.Wall {
		return b.outOfTime(used)
	}
	return nil
}

func (b *Budget) outOfTime(used time.Duration) *BudgetError {
	return &BudgetError{Bound: "time", Limit: b.bounds.Wall.String(), Used: used.Round(time.Millisecond).String()}
}

func money(x float64) string { return strconv.FormatFloat(x, 'g', 4, 64) }
