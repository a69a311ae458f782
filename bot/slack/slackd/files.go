package slackd

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// Limits on files.
const (
	maxSnippet = 1 << 20
	maxUpload  = 64 << 20 // of this stand-in; Slack takes a gigabyte
)

// storedFile is a file on its way or shared.
type storedFile struct {
	File
	secret   string // of its upload address
	data     []byte
	uploaded bool
	shared   map[string][]string // timestamps of the messages it is in, by channel
	at       time.Time
	deleted  bool
}

// FileData is a file's content.
func (s *Server) FileData(id string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.files[id]
	if f == nil || !f.uploaded {
		return nil, false
	}
	return bytes.Clone(f.data), true
}

func (s *Server) wireFile(f File) map[string]any {
	kind := strings.TrimPrefix(path.Ext(f.Name), ".")
	mode := "hosted"
	if strings.HasPrefix(f.MIME, "text/") || f.SnippetType != "" {
		mode = "snippet"
	}
	w := map[string]any{"id": f.ID, "name": f.Name, "title": cmp.Or(f.Title, f.Name), "user": f.User, "size": f.Size, "mimetype": f.MIME,
		"filetype": kind, "mode": mode, "is_external": false, "is_public": true, "alt_txt": f.AltText,
		"url_private":          s.URL() + "/files-pri/" + f.ID + "/" + url.PathEscape(f.Name),
		"url_private_download": s.URL() + "/files-pri/" + f.ID + "/" + url.PathEscape(f.Name) + "?download=1",
		"permalink":            s.teamURL() + "files/" + f.User + "/" + f.ID}
	if stored := s.files[f.ID]; stored != nil {
		w["created"], w["timestamp"] = stored.at.Unix(), stored.at.Unix()
	}
	return w
}

func (s *Server) filesUploadURL(c *call) (map[string]any, error) {
	name, length := c.args["filename"], c.int("length", -1)
	switch {
	case name == "":
		return nil, fail("invalid_arguments", "[ERROR] missing required field: filename")
	case length <= 0:
		return nil, fail("invalid_arguments", "[ERROR] missing required field: length")
	case length > maxUpload:
		return nil, fail("file_upload_size_restricted")
	case c.args["snippet_type"] != "" && length > maxSnippet:
		return nil, fail("snippet_too_large")
	case len(c.args["alt_txt"]) > 1000:
		return nil, fail("alt_txt_too_large")
	}
	kind, _, _ := strings.Cut(mime.TypeByExtension(path.Ext(name)), ";")
	if kind == "" || c.args["snippet_type"] != "" {
		kind = "text/plain"
	}
	f := &storedFile{File: File{ID: s.id("F"), Name: name, User: s.cfg.BotUser, Size: length, MIME: kind,
		SnippetType: c.args["snippet_type"], AltText: c.args["alt_txt"]}, secret: s.secret(), at: s.now(), shared: map[string][]string{}}
	s.files[f.ID] = f
	return map[string]any{"file_id": f.ID, "upload_url": s.URL() + "/upload/" + f.ID + "/" + f.secret}, nil
}

// serveUpload takes a file's content, as the body or as a form's file.
func (s *Server) serveUpload(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxUpload+1<<20)
	s.mu.Lock()
	f := s.files[r.PathValue("id")]
	known := f != nil && f.secret == r.PathValue("secret") && !f.uploaded
	trouble := s.fault("upload", "")
	s.mu.Unlock()
	if !known {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	if trouble.Status != 0 {
		http.Error(w, http.StatusText(trouble.Status), trouble.Status)
		return
	}
	body := io.Reader(r.Body)
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == "multipart/form-data" {
		parts, err := r.MultipartReader()
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = nil
		for body == nil {
			part, err := parts.NextPart()
			if err != nil {
				http.Error(w, "no file in the form", http.StatusBadRequest)
				return
			}
			if part.FileName() != "" || part.FormName() == "file" {
				body = part
			}
		}
	}
	data, err := io.ReadAll(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(data) != f.Size {
		http.Error(w, "the length is not the announced one", http.StatusBadRequest)
		return
	}
	f.data, f.uploaded = data, true
	fmt.Fprintf(w, "OK - %d", len(data))
}

func (s *Server) filesComplete(c *call) (map[string]any, error) {
	var list []struct{ ID, Title string }
	if err := json.Unmarshal(c.object("files"), &list); err != nil || len(list) == 0 {
		return nil, fail("invalid_arguments", "[ERROR] missing required field: files")
	}
	var files []*storedFile
	for _, item := range list {
		f := s.files[item.ID]
		if f == nil || f.deleted {
			return nil, fail("file_not_found")
		}
		if !f.uploaded {
			return nil, fail("file_update_failed")
		}
		files = append(files, f)
	}
	var targets []string
	for _, name := range []string{"channel_id", "channels"} {
		for id := range strings.SplitSeq(c.args[name], ",") {
			if id != "" && !slices.Contains(targets, id) {
				targets = append(targets, id)
			}
		}
	}
	var channels []*Channel
	for _, id := range targets {
		ch, err := s.target(id)
		if err != nil {
			return nil, err
		}
		if err := s.thread(ch, c.args["thread_ts"]); err != nil {
			return nil, err
		}
		channels = append(channels, ch)
	}
	var blocks json.RawMessage
	if raw := c.object("blocks"); raw != nil && c.args["initial_comment"] == "" {
		checked, err := s.checkBlocks(raw, onMessage)
		if err != nil {
			return nil, err
		}
		blocks = checked
	}
	out := []any{}
	var attached []File
	for i, f := range files {
		f.Title = cmp.Or(list[i].Title, f.Name)
		attached = append(attached, f.File)
		out = append(out, s.wireFile(f.File))
	}
	for _, ch := range channels {
		m := &Message{Channel: ch.ID, ThreadTS: c.args["thread_ts"], User: s.cfg.BotUser, BotID: s.cfg.BotID,
			Text: c.args["initial_comment"], Blocks: blocks, Files: attached}
		s.add(m)
		for _, f := range files {
			f.shared[ch.ID] = append(f.shared[ch.ID], m.TS)
			if s.hears(ch, "file_shared") {
				s.tell(ch, map[string]any{"type": "file_shared", "file_id": f.ID, "user_id": s.cfg.BotUser, "channel_id": ch.ID,
					"file": map[string]any{"id": f.ID}, "event_ts": m.TS})
			}
		}
	}
	return map[string]any{"files": out}, nil
}

func (s *Server) filesInfo(c *call) (map[string]any, error) {
	f := s.files[c.args["file"]]
	switch {
	case f == nil || !f.uploaded:
		return nil, fail("file_not_found")
	case f.deleted:
		return nil, fail("file_deleted")
	}
	w := s.wireFile(f.File)
	shares := map[string]any{}
	for channel, list := range f.shared {
		var in []any
		for _, ts := range list {
			share := map[string]any{"ts": ts, "channel_name": s.channels[channel].Name, "team_id": s.cfg.Team.ID}
			if m := s.message(channel, ts); m != nil && m.ThreadTS != "" {
				share["thread_ts"] = m.ThreadTS
			}
			in = append(in, share)
		}
		shares[channel] = in
	}
	w["shares"] = map[string]any{"public": shares}
	return map[string]any{"file": w, "comments": []any{}, "response_metadata": map[string]any{"next_cursor": ""}}, nil
}

func (s *Server) filesDelete(c *call) (map[string]any, error) {
	f := s.files[c.args["file"]]
	switch {
	case f == nil:
		return nil, fail("file_not_found")
	case f.User != s.cfg.BotUser:
		return nil, fail("cant_delete_file")
	case f.deleted:
		return nil, fail("file_deleted")
	}
	f.deleted, f.data = true, nil
	s.touch()
	return nil, nil
}

// serveFile hands out a file to who has the bot's token.
func (s *Server) serveFile(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer "+s.cfg.BotToken {
		http.Redirect(w, r, s.teamURL(), http.StatusFound) // to the login, as Slack does
		return
	}
	s.writeFile(w, r.PathValue("id"))
}

func (s *Server) writeFile(w http.ResponseWriter, id string) {
	s.mu.Lock()
	var data []byte
	kind := ""
	f := s.files[id]
	found := f != nil && f.uploaded && !f.deleted
	if found {
		data, kind = f.data, f.MIME
	}
	s.mu.Unlock()
	if !found {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Security-Policy", "sandbox")
	w.Write(data)
}
