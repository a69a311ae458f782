package discordd

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// asPage makes a request as the page's script does.
func asPage(t *testing.T, s *Server, method, path string, body any, header map[string]string) (int, string) {
	t.Helper()
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, strings.TrimSuffix(s.URL(), "/")+path, r)
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range header {
		if k == "Host" {
			req.Host = v
		} else {
			req.Header.Set(k, v)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestPage(t *testing.T) {
	s := start(t, nil)
	for _, p := range []string{"/", "/page/app.js", "/page/markdown.js", "/page/style.css"} {
		if status, body := asPage(t, s, "GET", p, nil, nil); status != 200 || len(body) < 200 {
			t.Errorf("%s: %d, %d bytes", p, status, len(body))
		}
	}
	act := map[string]any{"do": "post", "user": ExampleAlice, "channel": ExampleGeneral, "text": "hello"}
	if status, body := asPage(t, s, "POST", "/page/act", act, nil); status != 200 || body != `{"ok":true}` {
		t.Errorf("%d %s", status, body)
	}
	list := "/page/messages?user=" + ExampleBob + "&channel=" + ExampleGeneral
	if status, body := asPage(t, s, "GET", list, nil, nil); status != 200 || !strings.Contains(body, `"content":"hello"`) {
		t.Errorf("%d %s", status, body)
	}
	stranger := "/page/messages?user=" + ExampleMallory + "&channel=" + ExampleGeneral
	if status, _ := asPage(t, s, "GET", stranger, nil, nil); status != http.StatusNotFound {
		t.Errorf("who is not a member reads: %d", status)
	}
	for name, header := range map[string]map[string]string{
		"another site's name":   {"Host": "evil.example:80"},
		"another site's origin": {"Origin": "http://evil.example"},
		"a form":                {"Content-Type": "text/plain"},
	} {
		if status, _ := asPage(t, s, "POST", "/page/act", act, header); status < 400 {
			t.Errorf("%s may act: %d", name, status)
		}
	}
	if n := len(s.Messages(ExampleGeneral)); n != 1 {
		t.Errorf("%d messages, want 1", n)
	}
}

// What somebody uploads is never a page of the stand-in's origin.
func TestAttachmentIsInert(t *testing.T) {
	s := start(t, nil)
	m, err := s.As(ExampleAlice).Post(ExampleGeneral, "", File{Name: "../x.html", Data: []byte("<script>alert(1)</script>")})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(m.Attachments[0].URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if csp := resp.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "sandbox") || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", resp.Header)
	}
	if m.Attachments[0].Filename != "x.html" {
		t.Errorf("name %q", m.Attachments[0].Filename)
	}
}
