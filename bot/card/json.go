package card

import (
	"encoding/json"
	"fmt"
)

// kinds names the kinds of blocks in JSON.
const (
	kindFields  = "fields"
	kindList    = "list"
	kindText    = "text"
	kindCode    = "code"
	kindNote    = "note"
	kindDivider = "divider"
	kindRow     = "row"
)

// tagged is a block with its kind, as it is stored.
type tagged struct {
	Kind  string          `json:"kind"`
	Block json.RawMessage `json:"block"`
}

// plain is a Card without methods.
type plain Card

// MarshalJSON encodes each block with its kind.
func (c Card) MarshalJSON() ([]byte, error) {
	blocks := make([]tagged, len(c.Blocks))
	for i, b := range c.Blocks {
		kind := ""
		switch b.(type) {
		case Fields:
			kind = kindFields
		case List:
			kind = kindList
		case Text:
			kind = kindText
		case Code:
			kind = kindCode
		case Note:
			kind = kindNote
		case Divider:
			kind = kindDivider
		case Row:
			kind = kindRow
		default:
			return nil, fmt.Errorf("encoding card: block of type %T", b)
		}
		raw, err := json.Marshal(b)
		if err != nil {
			return nil, fmt.Errorf("encoding card: %w", err)
		}
		blocks[i] = tagged{kind, raw}
	}
	return json.Marshal(struct {
		plain
		Blocks []tagged `json:"blocks,omitempty"`
	}{plain(c), blocks})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (c *Card) UnmarshalJSON(raw []byte) error {
	var in struct {
		plain
		Blocks []tagged `json:"blocks,omitempty"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return fmt.Errorf("decoding card: %w", err)
	}
	*c = Card(in.plain)
	c.Blocks = nil
	for _, t := range in.Blocks {
		b, err := decode(t)
		if err != nil {
			return fmt.Errorf("decoding card: %w", err)
		}
		c.Blocks = append(c.Blocks, b)
	}
	return nil
}

func decode(t tagged) (Block, error) {
	switch t.Kind {
	case kindFields:
		return as[Fields](t.Block)
	case kindList:
		return as[List](t.Block)
	case kindText:
		return as[Text](t.Block)
	case kindCode:
		return as[Code](t.Block)
	case kindNote:
		return as[Note](t.Block)
	case kindDivider:
		return as[Divider](t.Block)
	case kindRow:
		return as[Row](t.Block)
	}
	return nil, fmt.Errorf("block of kind %q", t.Kind)
}

func as[B Block](raw json.RawMessage) (Block, error) {
	var b B
	err := json.Unmarshal(raw, &b)
	return b, err
}
