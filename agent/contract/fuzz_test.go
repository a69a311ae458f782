package contract

import (
	"testing"
)

// What parses is the same after formatting, as JSON, and never breaks the checker.
func FuzzParse(f *testing.F) {
	for _, file := range recipeFiles(f) {
		f.Add(readFile(f, file))
	}
	f.Add(preludeText)
	f.Add("contract \"x\" hook xdp() case a: known m[1, -(-2)] ? !(a.b)[3] : (1 + 2) * 3 < packet.u8(1) nothing otherwise return 0xff")
	f.Add("contract \"\\\\\" param a: char[3] = \"\\\"\" from 1h to 2KiB means \"\" show x top 3 every 5s assume room")
	types, err := hostTypes()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse(text)
		if err != nil {
			if len(err.(Errors)) == 0 {
				t.Error("an error without errors")
			}
			return
		}
		once := Format(c)
		again, err := Parse(once)
		if err != nil {
			t.Fatalf("%v in the formatted text:\n%s", err, once)
		}
		if twice := Format(again); twice != once {
			t.Fatalf("not stable:\n%s\n---\n%s", once, twice)
		}
		data, err := EncodeJSON(c)
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeJSON(data)
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		if got := Format(back); got != once {
			t.Fatalf("JSON:\n%s\n---\n%s", once, got)
		}
		_ = English(c)
		if k, err := Check(c, types); err == nil {
			m, err := NewMachine(k, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i, p := range k.Places {
				_, _ = m.Run(Invocation{Place: i, Args: make([]Datum, len(p.Args)), Inputs: map[string]Datum{}})
			}
		}
	})
}

// Arbitrary JSON is refused or is a contract that survives its own forms.
func FuzzDecodeJSON(f *testing.F) {
	for _, file := range recipeFiles(f) {
		c, err := Parse(readFile(f, file))
		if err != nil {
			f.Fatal(err)
		}
		data, err := EncodeJSON(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"title": null}`))
	f.Add([]byte(`[[[[`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := DecodeJSON(data)
		if err != nil {
			return
		}
		out, err := EncodeJSON(c)
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeJSON(out)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if Format(back) != Format(c) {
			t.Fatalf("not stable:\n%s", out)
		}
	})
}
