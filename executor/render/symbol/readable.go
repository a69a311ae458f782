package symbol

import (
	"strings"

	"github.com/ianlancetaylor/demangle"
)

// maxMangled bounds the names that are read, in bytes, and what may become of them:
// names are outside input, and a short one can stand for a very long one.
const (
	maxMangled     = 2048
	maxReadableLog = 10 // log2 of the bytes
)

// readable is the name of a C++ or Rust function as its author wrote it, without
// parameters, those of templates included: std::vector::push_back. Other names
// stay as they are.
func readable(name string) string {
	if len(name) > maxMangled || !strings.HasPrefix(name, "_Z") && !strings.HasPrefix(name, "_R") {
		return name
	}
	s, err := demangle.ToString(name, demangle.NoParams, demangle.NoTemplateParams, demangle.NoEnclosingParams, demangle.MaxLength(maxReadableLog))
	if err != nil || s == "" {
		return name
	}
	return s
}
