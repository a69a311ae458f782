package schema

import (
	"strings"
	"testing"
)

const person = `{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"},"ok":{"type":"boolean"},"tags":{"type":"array","items":{"type":"string"}},
"home":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}},"required":["name","age","ok","tags"],"additionalProperties":false}`

func TestFit(t *testing.T) {
	s, err := Parse([]byte(person))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ in, want, did string }{
		"as it is":          {`{"name":"a","age":1,"ok":true,"tags":[]}`, `{"name":"a","age":1,"ok":true,"tags":[]}`, ""},
		"missing":           {`{"name":"a"}`, `{"age":0,"name":"a","ok":false,"tags":[]}`, "age was missing"},
		"more":              {`{"name":"a","age":1,"ok":true,"tags":[],"x":{"y":1}}`, `{"age":1,"name":"a","ok":true,"tags":[]}`, "x is not asked for"},
		"texts":             {`{"name":5,"age":" 7","ok":"True","tags":"one"}`, `{"age":7,"name":"5","ok":true,"tags":["one"]}`, "age was a text"},
		"null":              {`{"name":null,"age":null,"ok":null,"tags":null}`, `{"age":0,"name":"","ok":false,"tags":[]}`, "was null"},
		"a point":           {`{"name":"a","age":2.0,"ok":true,"tags":[]}`, `{"age":2,"name":"a","ok":true,"tags":[]}`, "point"},
		"below":             {`{"name":"a","age":1,"ok":true,"tags":[1],"home":{"zip":1}}`, `{"age":1,"home":{"city":""},"name":"a","ok":true,"tags":["1"]}`, "home.zip"},
		"what has no sense": {`{"name":"a","age":"old","ok":true,"tags":[]}`, `{"name":"a","age":"old","ok":true,"tags":[]}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, did, err := s.Fit([]byte(tc.in))
			if err != nil || string(got) != tc.want || tc.did != "" && !strings.Contains(strings.Join(did, "; "), tc.did) || tc.did == "" && len(did) > 0 {
				t.Errorf("%s, %q, %v; want %s", got, did, err, tc.want)
			}
		})
	}
	if _, _, err := s.Fit([]byte("no")); err == nil {
		t.Error("what is no JSON was taken")
	}
}
