package agent

import (
	"fmt"

	"kgent/agent/contract"
	"kgent/agent/program"
)

// named is the container or pod that the request, or the last one before it that says, is about; ""
// where none is named.
func (p *preparation) named() (string, error) {
	composer, err := p.composer()
	if err != nil {
		return "", err
	}
	where := composer.Where(p.req.Text)
	for i := len(p.req.Before) - 1; i >= 0 && where == ""; i-- {
		where = composer.Where(p.req.Before[i])
	}
	return where, nil
}

// within finds a contract that is about more than the container which the request names.
func (a *author) within(c *contract.Contract) error {
	where, err := a.named()
	if err != nil || where == "" || contract.Where(c) == where && contract.Beyond(c) == "" {
		return err
	}
	return contract.Errors{{At: contract.Pos{Line: 1, Column: 1}, Msg: fmt.Sprintf("the request is about what happens in %s, so every case that remembers or shows what a task does has to ask inside(%q); "+
		"where no task can be asked, say in \"cannot\" that it is not known there in which container it happens", program.WhereWords(where), where)}}
}

// wherePromise says how a program asks in which container a task is.
func wherePromise(c *contract.Contract) string {
	where := contract.Where(c)
	if where == "" {
		return ""
	}
	return fmt.Sprintf("It is about %s alone: KGENT_WHERE on a line of its own declares k_inside(), whether the current task is there; the node knows which cgroups that is.\n", program.WhereWords(where))
}
