package discordd

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Documented limits. Lengths are in Unicode code points.
const (
	maxContent        = 2000
	maxEmbeds         = 10
	maxEmbedChars     = 6000
	maxEmbedTitle     = 256
	maxEmbedDesc      = 4096
	maxEmbedFields    = 25
	maxFieldName      = 256
	maxFieldValue     = 1024
	maxFooter         = 2048
	maxEmbedAuthor    = 256
	maxRows           = 5
	maxRowButtons     = 5
	maxCustomID       = 100
	maxButtonLabel    = 80
	maxButtonURL      = 512
	maxOptions        = 25
	maxOptionText     = 100
	maxPlaceholder    = 150
	maxV2Components   = 40
	maxV2Text         = 4000
	maxGallery        = 10
	maxMediaText      = 1024
	maxSectionTexts   = 3
	maxModalTitle     = 45
	maxModalParts     = 5
	maxLabel          = 45
	maxLabelDesc      = 100
	maxInput          = 4000
	maxNonce          = 25
	maxThreadName     = 100
	maxFiles          = 10
	maxRequest        = 25 << 20
	maxChoices        = 25
	maxChoiceText     = 100
	maxCommandName    = 32
	maxCommandDesc    = 100
	maxCommandOptions = 25
	maxCommandChars   = 8000
	maxChatCommands   = 100
	maxMenuCommands   = 15
	maxCreatesPerDay  = 200
)

// apiError is an answer other than success, in Discord's JSON form.
type apiError struct {
	status  int
	code    int
	message string
	fields  *form

	retry time.Duration // of a rate limit; 0 for everything else
	scope string        // user or global
}

func (e *apiError) Error() string {
	return fmt.Sprintf("HTTP %d, code %d: %s", e.status, e.code, e.message)
}

func fail(status, code int, message string) *apiError {
	return &apiError{status: status, code: code, message: message}
}

var (
	errUnknownChannel = fail(http.StatusNotFound, 10003, "Unknown Channel")
	errUnknownGuild   = fail(http.StatusNotFound, 10004, "Unknown Guild")
	errUnknownMember  = fail(http.StatusNotFound, 10007, "Unknown Member")
	errUnknownMessage = fail(http.StatusNotFound, 10008, "Unknown Message")
	errUnknownUser    = fail(http.StatusNotFound, 10013, "Unknown User")
	errUnknownWebhook = fail(http.StatusNotFound, 10015, "Unknown Webhook")
	errUnknownInter   = fail(http.StatusNotFound, 10062, "Unknown interaction")
	errUnknownCommand = fail(http.StatusNotFound, 10063, "Unknown application command")
	errUnknownApp     = fail(http.StatusNotFound, 10002, "Unknown Application")
	errTooLarge       = fail(http.StatusRequestEntityTooLarge, 40005, "Request entity too large")
	errAcknowledged   = fail(http.StatusBadRequest, 40060, "Interaction has already been acknowledged.")
	errMissingAccess  = fail(http.StatusForbidden, 50001, "Missing Access")
	errNotAuthor      = fail(http.StatusForbidden, 50005, "Cannot edit a message authored by another user")
	errEmpty          = fail(http.StatusBadRequest, 50006, "Cannot send an empty message")
	errNoDM           = fail(http.StatusForbidden, 50007, "Cannot send messages to this user")
	errMissingPerms   = fail(http.StatusForbidden, 50013, "Missing Permissions")
	errSystemMessage  = fail(http.StatusForbidden, 50021, "Cannot execute action on a system message")
	errWebhookToken   = fail(http.StatusUnauthorized, 50027, "Invalid Webhook Token")
	errArchived       = fail(http.StatusBadRequest, 50083, "Thread is archived")
	errInvalidJSON    = fail(http.StatusBadRequest, 50109, "The request body contains invalid JSON.")
	errThreadExists   = fail(http.StatusBadRequest, 160004, "A thread has already been created for this message")
	errThreadLocked   = fail(http.StatusForbidden, 160005, "Thread is locked")
	errOldEdits       = fail(http.StatusTooManyRequests, 30046, "Maximum number of edits to messages older than 1 hour reached. Try again later.")
	errCreatesPerDay  = fail(http.StatusTooManyRequests, 30034, "Max number of daily application command creates has been reached (200)")
	errUnauthorized   = fail(http.StatusUnauthorized, 0, "401: Unauthorized")
	errNotFound       = fail(http.StatusNotFound, 0, "404: Not Found")
	errInvalidAPI     = fail(http.StatusBadRequest, 50041, "Invalid API version")
	errUnknownEmoji   = fail(http.StatusBadRequest, 10014, "Unknown Emoji")
)

// form gathers what is wrong with a body, by path.
type form struct {
	errors map[string]any
	n      int
}

// add notes an error at a dotted path.
func (f *form) add(path, code, format string, args ...any) {
	if f.errors == nil {
		f.errors = map[string]any{}
	}
	f.n++
	at := f.errors
	for _, p := range strings.Split(path, ".") {
		if p == "" {
			continue
		}
		next, ok := at[p].(map[string]any)
		if !ok {
			next = map[string]any{}
			at[p] = next
		}
		at = next
	}
	list, _ := at["_errors"].([]map[string]string)
	at["_errors"] = append(list, map[string]string{"code": code, "message": fmt.Sprintf(format, args...)})
}

// err is the 50035 answer, or nil when nothing is wrong.
func (f *form) err() *apiError {
	if f.n == 0 {
		return nil
	}
	return &apiError{status: http.StatusBadRequest, code: 50035, message: "Invalid Form Body", fields: f}
}

func (f *form) length(path, s string, lo, hi int) {
	n := utf8.RuneCountInString(s)
	switch {
	case n == 0 && lo > 0:
		f.add(path, "BASE_TYPE_REQUIRED", "This field is required")
	case n > hi && lo > 0:
		f.add(path, "BASE_TYPE_BAD_LENGTH", "Must be between %d and %d in length.", lo, hi)
	case n > hi:
		f.add(path, "BASE_TYPE_MAX_LENGTH", "Must be %d or fewer in length.", hi)
	}
}

func (f *form) between(path string, v *int, lo, hi int) {
	if v != nil && (*v < lo || *v > hi) {
		f.add(path, "NUMBER_TYPE_COERCE", "int value should be between %d and %d.", lo, hi)
	}
}

func (f *form) count(path string, n, lo, hi int) {
	if n < lo || n > hi {
		f.add(path, "BASE_TYPE_BAD_LENGTH", "Must be between %d and %d in length.", lo, hi)
	}
}

func join(path string, parts ...any) string {
	for _, p := range parts {
		if path != "" {
			path += "."
		}
		path += fmt.Sprint(p)
	}
	return path
}

// message checks a whole message as it would stand after the request, and
// turns references to attachments into their addresses.
func (f *form) message(m *Message) {
	f.length("content", m.Content, 0, maxContent)
	f.embeds(m)
	v2 := m.Flags&FlagComponentsV2 != 0
	if v2 {
		if m.Content != "" {
			f.add("content", "MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2", "The 'content' field cannot be used when using MessageFlags.IS_COMPONENTS_V2")
		}
		if len(m.Embeds) > 0 {
			f.add("embeds", "MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2", "The 'embeds' field cannot be used when using MessageFlags.IS_COMPONENTS_V2")
		}
	}
	f.layout(m, v2)
}

func (f *form) embeds(m *Message) {
	if len(m.Embeds) > maxEmbeds {
		f.add("embeds", "BASE_TYPE_MAX_LENGTH", "Must be %d or fewer in length.", maxEmbeds)
	}
	total := 0
	sum := func(path, s string, lo, hi int) {
		f.length(path, s, lo, hi)
		total += utf8.RuneCountInString(s)
	}
	for i := range m.Embeds {
		e, p := &m.Embeds[i], join("embeds", i)
		e.Type = "rich"
		sum(join(p, "title"), e.Title, 0, maxEmbedTitle)
		sum(join(p, "description"), e.Description, 0, maxEmbedDesc)
		if e.Footer != nil {
			sum(join(p, "footer.text"), e.Footer.Text, 0, maxFooter)
		}
		if e.Author != nil {
			sum(join(p, "author.name"), e.Author.Name, 0, maxEmbedAuthor)
		}
		if len(e.Fields) > maxEmbedFields {
			f.add(join(p, "fields"), "BASE_TYPE_MAX_LENGTH", "Must be %d or fewer in length.", maxEmbedFields)
		}
		for j, field := range e.Fields {
			sum(join(p, "fields", j, "name"), field.Name, 1, maxFieldName)
			sum(join(p, "fields", j, "value"), field.Value, 1, maxFieldValue)
		}
		if c := e.Color; c != nil && (*c < 0 || *c > 0xffffff) {
			f.add(join(p, "color"), "NUMBER_TYPE_MAX", "int value should be less than or equal to 16777215.")
		}
		f.url(join(p, "url"), e.URL, 2048)
		for name, media := range map[string]*EmbedMedia{"image": e.Image, "thumbnail": e.Thumbnail} {
			if media != nil {
				as := Media{URL: media.URL}
				f.media(join(p, name, "url"), &as, m, false)
				media.URL = as.URL
			}
		}
	}
	if total > maxEmbedChars {
		f.add("embeds", "MAX_EMBED_SIZE_EXCEEDED", "Embed size exceeds maximum size of %d", maxEmbedChars)
	}
}

func (f *form) url(path, u string, limit int) {
	if u == "" {
		return
	}
	f.length(path, u, 0, limit)
	parsed, err := url.Parse(u)
	if err != nil || parsed.Host == "" && parsed.Scheme != "discord" {
		f.add(path, "URL_TYPE_INVALID_URL", "Not a well formed URL.")
		return
	}
	switch parsed.Scheme {
	case "http", "https", "discord":
	default:
		f.add(path, "URL_TYPE_INVALID_SCHEME", "Scheme %q is not supported. Scheme must be one of ('http', 'https').", parsed.Scheme)
	}
}

// media resolves attachment://name against the message's files.
func (f *form) media(path string, ref *Media, m *Message, filesOnly bool) {
	name, local := strings.CutPrefix(ref.URL, "attachment://")
	if local {
		for _, a := range m.Attachments {
			if a.Filename == name {
				*ref = Media{URL: a.URL, ProxyURL: a.ProxyURL, ContentType: a.ContentType, AttachmentID: a.ID}
				return
			}
		}
		f.add(path, "UNFURLED_MEDIA_ITEM_REFERENCED_ATTACHMENT_NOT_FOUND", "The referenced attachment %q was not found", name)
		return
	}
	for _, a := range m.Attachments { // an edit sends back what it was given
		if a.URL == ref.URL {
			ref.AttachmentID, ref.ContentType, ref.ProxyURL = a.ID, a.ContentType, a.ProxyURL
			return
		}
	}
	switch {
	case ref.URL == "":
		f.add(path, "BASE_TYPE_REQUIRED", "This field is required")
	case filesOnly:
		f.add(path, "UNFURLED_MEDIA_ITEM_ATTACHMENT_REQUIRED", "Only attachment:// references are supported")
	default:
		f.url(path, ref.URL, 2048)
	}
}

// components is the state of checking one message or modal.
type components struct {
	f       *form
	m       *Message
	v2      bool
	ids     map[string]bool
	numbers map[int]bool
	total   int
	text    int
}

func (f *form) layout(m *Message, v2 bool) {
	k := &components{f: f, m: m, v2: v2, ids: map[string]bool{}, numbers: map[int]bool{}}
	if !v2 && len(m.Components) > maxRows {
		f.add("components", "BASE_TYPE_BAD_LENGTH", "Must be between 1 and %d in length.", maxRows)
	}
	for i := range m.Components {
		c, p := &m.Components[i], join("components", i)
		switch c.Type {
		case TypeActionRow:
			k.component(p, c)
		case TypeSection, TypeTextDisplay, TypeMediaGallery, TypeFile, TypeSeparator, TypeContainer:
			if !v2 {
				f.add(join(p, "type"), "UNION_TYPE_CHOICES", "Value of field \"type\" must be one of (1,).")
				continue
			}
			k.component(p, c)
		default:
			f.add(join(p, "type"), "UNION_TYPE_CHOICES", "Value of field \"type\" must be one of (1, 9, 10, 12, 13, 14, 17).")
		}
	}
	if v2 && k.total > maxV2Components {
		f.add("components", "COMPONENT_MAX_TOTAL_COMPONENTS_EXCEEDED", "The total number of components cannot exceed %d", maxV2Components)
	}
	if v2 && k.text > maxV2Text {
		f.add("components", "COMPONENT_DISPLAYABLE_TEXT_SIZE_EXCEEDED", "Total size of the displayable text of components (%d) exceeds the maximum size of %d", k.text, maxV2Text)
	}
	k.number(m.Components)
}

// number gives ids to the components that have none (0 means none).
func (k *components) number(cs []Component) {
	next := 1
	walk(cs, func(c *Component) {
		if c.ID != 0 {
			return
		}
		for k.numbers[next] {
			next++
		}
		c.ID = next
		k.numbers[next] = true
	})
}

func (k *components) custom(p string, c *Component) {
	k.f.length(join(p, "custom_id"), c.CustomID, 1, maxCustomID)
	if c.CustomID != "" && k.ids[c.CustomID] {
		k.f.add(join(p, "custom_id"), "COMPONENT_CUSTOM_ID_DUPLICATED", "Component custom id cannot be duplicated")
	}
	k.ids[c.CustomID] = true
}

func (k *components) component(p string, c *Component) {
	f := k.f
	k.total++
	if c.ID != 0 {
		if k.numbers[c.ID] {
			f.add(join(p, "id"), "COMPONENT_ID_DUPLICATED", "Component id cannot be duplicated")
		}
		k.numbers[c.ID] = true
	}
	switch c.Type {
	case TypeActionRow:
		if len(c.Components) == 0 || len(c.Components) > maxRowButtons {
			f.add(join(p, "components"), "BASE_TYPE_BAD_LENGTH", "Must be between 1 and %d in length.", maxRowButtons)
		}
		selects := 0
		for i := range c.Components {
			child, cp := &c.Components[i], join(p, "components", i)
			switch child.Type {
			case TypeButton:
				k.component(cp, child)
			case TypeStringSelect, TypeUserSelect, TypeRoleSelect, TypeMentionableSelect, TypeChannelSelect:
				selects++
				k.component(cp, child)
			default:
				f.add(join(cp, "type"), "UNION_TYPE_CHOICES", "Value of field \"type\" must be one of (2, 3, 5, 6, 7, 8).")
			}
		}
		if selects > 0 && len(c.Components) > 1 {
			f.add(join(p, "components"), "COMPONENT_LAYOUT_WIDTH_EXCEEDED", "The specified component exceeds the maximum width")
		}
	case TypeButton:
		k.button(p, c)
	case TypeStringSelect, TypeUserSelect, TypeRoleSelect, TypeMentionableSelect, TypeChannelSelect:
		k.menu(p, c)
	case TypeSection:
		f.count(join(p, "components"), len(c.Components), 1, maxSectionTexts)
		for i := range c.Components {
			if c.Components[i].Type != TypeTextDisplay {
				f.add(join(p, "components", i, "type"), "UNION_TYPE_CHOICES", "Value of field \"type\" must be one of (10,).")
				continue
			}
			k.component(join(p, "components", i), &c.Components[i])
		}
		switch {
		case c.Accessory == nil:
			f.add(join(p, "accessory"), "BASE_TYPE_REQUIRED", "This field is required")
		case c.Accessory.Type != TypeButton && c.Accessory.Type != TypeThumbnail:
			f.add(join(p, "accessory.type"), "UNION_TYPE_CHOICES", "Value of field \"type\" must be one of (2, 11).")
		default:
			k.component(join(p, "accessory"), c.Accessory)
		}
	case TypeTextDisplay:
		f.length(join(p, "content"), c.Content, 1, maxV2Text)
		k.text += utf8.RuneCountInString(c.Content)
	case TypeThumbnail:
		if c.Media == nil {
			f.add(join(p, "media"), "BASE_TYPE_REQUIRED", "This field is required")
			return
		}
		f.media(join(p, "media.url"), c.Media, k.m, false)
		f.length(join(p, "description"), c.Description, 0, maxMediaText)
	case TypeMediaGallery:
		f.count(join(p, "items"), len(c.Items), 1, maxGallery)
		for i := range c.Items {
			f.media(join(p, "items", i, "media.url"), &c.Items[i].Media, k.m, false)
			f.length(join(p, "items", i, "description"), c.Items[i].Description, 0, maxMediaText)
		}
	case TypeFile:
		if c.File == nil {
			f.add(join(p, "file"), "BASE_TYPE_REQUIRED", "This field is required")
			return
		}
		f.media(join(p, "file.url"), c.File, k.m, true)
		for _, a := range k.m.Attachments {
			if a.ID == c.File.AttachmentID {
				c.Name, c.Size = a.Filename, a.Size
			}
		}
	case TypeSeparator:
		f.between(join(p, "spacing"), c.Spacing, 1, 2)
	case TypeContainer:
		if len(c.Components) == 0 {
			f.add(join(p, "components"), "BASE_TYPE_BAD_LENGTH", "Must be between 1 and %d in length.", maxV2Components)
		}
		f.between(join(p, "accent_color"), c.AccentColor, 0, 0xffffff)
		for i := range c.Components {
			switch child := &c.Components[i]; child.Type {
			case TypeActionRow, TypeTextDisplay, TypeSection, TypeMediaGallery, TypeSeparator, TypeFile:
				k.component(join(p, "components", i), child)
			default:
				f.add(join(p, "components", i, "type"), "UNION_TYPE_CHOICES", "Value of field \"type\" must be one of (1, 9, 10, 12, 13, 14).")
			}
		}
	}
}

func (k *components) button(p string, c *Component) {
	f := k.f
	f.length(join(p, "label"), c.Label, 0, maxButtonLabel)
	switch {
	case c.Style >= 1 && c.Style <= 4:
		k.custom(p, c)
		if c.URL != "" {
			f.add(p, "COMPONENT_CUSTOM_ID_URL_MUTUALLY_EXCLUSIVE", "A custom id and url cannot both be specified")
		}
		if c.Label == "" && c.Emoji == nil {
			f.add(p, "COMPONENT_BUTTON_LABEL_OR_EMOJI_REQUIRED", "A button must have a label or an emoji")
		}
	case c.Style == 5:
		if c.CustomID != "" {
			f.add(p, "COMPONENT_CUSTOM_ID_URL_MUTUALLY_EXCLUSIVE", "A custom id and url cannot both be specified")
		}
		if c.URL == "" {
			f.add(join(p, "url"), "BASE_TYPE_REQUIRED", "This field is required")
		}
		f.url(join(p, "url"), c.URL, maxButtonURL)
	case c.Style == 6:
		if c.SKU == "" {
			f.add(join(p, "sku_id"), "BASE_TYPE_REQUIRED", "This field is required")
		}
	default:
		f.add(join(p, "style"), "BASE_TYPE_CHOICES", "Value must be one of (1, 2, 3, 4, 5, 6).")
	}
}

func (k *components) menu(p string, c *Component) {
	f := k.f
	k.custom(p, c)
	f.length(join(p, "placeholder"), c.Placeholder, 0, maxPlaceholder)
	f.between(join(p, "min_values"), c.MinValues, 0, maxOptions)
	f.between(join(p, "max_values"), c.MaxValues, 1, maxOptions)
	if c.Type == TypeStringSelect {
		f.count(join(p, "options"), len(c.Options), 1, maxOptions)
		k.options(p, c)
	}
}

func (k *components) options(p string, c *Component) {
	seen := map[string]bool{}
	for i, o := range c.Options {
		op := join(p, "options", i)
		k.f.length(join(op, "label"), o.Label, 1, maxOptionText)
		k.f.length(join(op, "value"), o.Value, 1, maxOptionText)
		k.f.length(join(op, "description"), o.Description, 0, maxOptionText)
		if seen[o.Value] {
			k.f.add(join(op, "value"), "SELECT_COMPONENT_OPTION_VALUE_DUPLICATED", "The specified option value is already used")
		}
		seen[o.Value] = true
	}
}

// modal checks a form.
func (f *form) modal(m *Modal) {
	f.length("data.custom_id", m.CustomID, 1, maxCustomID)
	f.length("data.title", m.Title, 1, maxModalTitle)
	f.count("data.components", len(m.Components), 1, maxModalParts)
	k := &components{f: f, m: &Message{}, ids: map[string]bool{}, numbers: map[int]bool{}}
	for i := range m.Components {
		c, p := &m.Components[i], join("data.components", i)
		switch c.Type {
		case TypeActionRow:
			if len(c.Components) != 1 || c.Components[0].Type != TypeTextInput {
				f.add(join(p, "components"), "BASE_TYPE_BAD_LENGTH", "Must be 1 text input.")
				continue
			}
			in := &c.Components[0]
			f.length(join(p, "components.0.label"), in.Label, 1, maxLabel)
			k.input(join(p, "components.0"), in)
		case TypeLabel:
			f.length(join(p, "label"), c.Label, 1, maxLabel)
			f.length(join(p, "description"), c.Description, 0, maxLabelDesc)
			if c.Component == nil {
				f.add(join(p, "component"), "BASE_TYPE_REQUIRED", "This field is required")
				continue
			}
			if c.Component.Label != "" && c.Component.Type == TypeTextInput {
				f.add(join(p, "component.label"), "COMPONENT_LABEL_NOT_ALLOWED", "A text input inside a label has no label of its own")
			}
			k.input(join(p, "component"), c.Component)
		case TypeTextDisplay:
			f.length(join(p, "content"), c.Content, 1, maxV2Text)
		default:
			f.add(join(p, "type"), "UNION_TYPE_CHOICES", "Value of field \"type\" must be one of (1, 10, 18).")
		}
	}
	k.number(m.Components)
}

// input checks what may stand in a modal's row or label.
func (k *components) input(p string, c *Component) {
	f := k.f
	switch c.Type {
	case TypeTextInput:
		k.custom(p, c)
		if c.Style != 1 && c.Style != 2 {
			f.add(join(p, "style"), "BASE_TYPE_CHOICES", "Value must be one of (1, 2).")
		}
		f.between(join(p, "min_length"), c.MinLength, 0, maxInput)
		f.between(join(p, "max_length"), c.MaxLength, 1, maxInput)
		f.length(join(p, "value"), c.Value, 0, maxInput)
		f.length(join(p, "placeholder"), c.Placeholder, 0, maxOptionText)
		if c.MaxLength != nil {
			f.length(join(p, "value"), c.Value, 0, *c.MaxLength)
		}
	case TypeStringSelect, TypeUserSelect, TypeRoleSelect, TypeMentionableSelect, TypeChannelSelect:
		k.menu(p, c)
		if c.Disabled {
			f.add(join(p, "disabled"), "COMPONENT_DISABLED_IN_MODAL", "Select menus in modals cannot be disabled")
		}
	case TypeFileUpload:
		k.custom(p, c)
		f.between(join(p, "min_values"), c.MinValues, 0, 10)
		f.between(join(p, "max_values"), c.MaxValues, 1, 10)
	case TypeRadioGroup:
		k.custom(p, c)
		f.count(join(p, "options"), len(c.Options), 2, 10)
		k.options(p, c)
	case TypeCheckboxGroup:
		k.custom(p, c)
		f.count(join(p, "options"), len(c.Options), 1, 10)
		k.options(p, c)
	case TypeCheckbox:
		k.custom(p, c)
	default:
		f.add(join(p, "type"), "UNION_TYPE_CHOICES", "Value of field \"type\" must be one of (3, 4, 5, 6, 7, 8, 19, 21, 22, 23).")
	}
}

// chatName is the documented form of names of chat-input commands and options.
var chatName = regexp.MustCompile(`^[-_'\p{L}\p{N}\p{Devanagari}\p{Thai}]{1,32}$`)

// command checks one application command.
func (f *form) command(p string, c *Command) {
	if c.Type == 0 {
		c.Type = CommandChat
	}
	total := 0
	switch c.Type {
	case CommandChat:
		f.chatName(join(p, "name"), c.Name)
		f.length(join(p, "description"), c.Description, 1, maxCommandDesc)
		total += f.commandOptions(join(p, "options"), c.Options, 0)
	case CommandUser, CommandMessage:
		f.length(join(p, "name"), c.Name, 1, maxCommandName)
		if c.Description != "" {
			f.add(join(p, "description"), "APPLICATION_COMMAND_CONTEXT_MENU_DESCRIPTION_INVALID", "Context menu commands cannot have description")
		}
		if len(c.Options) > 0 {
			f.add(join(p, "options"), "APPLICATION_COMMAND_CONTEXT_MENU_OPTIONS_INVALID", "Context menu commands cannot have options")
		}
	default:
		f.add(join(p, "type"), "BASE_TYPE_CHOICES", "Value must be one of (1, 2, 3).")
	}
	total += utf8.RuneCountInString(c.Name) + utf8.RuneCountInString(c.Description)
	if total > maxCommandChars {
		f.add(p, "APPLICATION_COMMAND_TOO_LARGE", "Command exceeds maximum size (%d)", maxCommandChars)
	}
}

func (f *form) chatName(p, name string) {
	if !chatName.MatchString(name) || name != strings.ToLower(name) {
		f.add(p, "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")
	}
}

// commandOptions returns the characters that count towards the command's size.
func (f *form) commandOptions(p string, options []CommandOption, depth int) int {
	if len(options) > maxCommandOptions {
		f.add(p, "BASE_TYPE_MAX_LENGTH", "Must be %d or fewer in length.", maxCommandOptions)
	}
	total := 0
	optional, sub, plain := false, false, false
	names := map[string]bool{}
	for i, o := range options {
		op := join(p, i)
		f.chatName(join(op, "name"), o.Name)
		f.length(join(op, "description"), o.Description, 1, maxCommandDesc)
		total += utf8.RuneCountInString(o.Name) + utf8.RuneCountInString(o.Description)
		if names[o.Name] {
			f.add(p, "APPLICATION_COMMAND_OPTIONS_NAME_ALREADY_EXISTS", "Option name already exists")
		}
		names[o.Name] = true
		switch o.Type {
		case OptionSubCommand, OptionGroup:
			sub = true
			if o.Type == OptionGroup && depth > 0 || depth > 1 {
				f.add(join(op, "type"), "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID", "Sub-command option types not allowed here")
			}
			total += f.commandOptions(join(op, "options"), o.Options, depth+1)
		default:
			plain = true
			if o.Type < 0 || o.Type > OptionAttachment || o.Type == 0 {
				f.add(join(op, "type"), "BASE_TYPE_CHOICES", "Value must be one of (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11).")
			}
			if o.Required && optional {
				f.add(p, "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID", "Required options must be placed before non-required options")
			}
			optional = optional || !o.Required
		}
		if len(o.Choices) > maxChoices {
			f.add(join(op, "choices"), "BASE_TYPE_MAX_LENGTH", "Must be %d or fewer in length.", maxChoices)
		}
		if o.Autocomplete && len(o.Choices) > 0 {
			f.add(join(op, "autocomplete"), "APPLICATION_COMMAND_OPTIONS_AUTOCOMPLETE_INVALID", "Cannot set autocomplete with choices")
		}
		total += f.choices(join(op, "choices"), o.Choices)
	}
	if sub && plain {
		f.add(p, "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID", "Sub-command and sub-command group option types are mutually exclusive to all other types")
	}
	return total
}

func (f *form) choices(p string, list []Choice) int {
	total := 0
	if len(list) > maxChoices {
		f.add(p, "BASE_TYPE_MAX_LENGTH", "Must be %d or fewer in length.", maxChoices)
	}
	for i, c := range list {
		f.length(join(p, i, "name"), c.Name, 1, maxChoiceText)
		total += utf8.RuneCountInString(c.Name)
		switch v := c.Value.(type) {
		case string:
			f.length(join(p, i, "value"), v, 0, maxChoiceText)
			total += utf8.RuneCountInString(v)
		case float64:
			total += len(strconv.FormatFloat(v, 'f', -1, 64))
		default:
			f.add(join(p, i, "value"), "BASE_TYPE_REQUIRED", "This field is required")
		}
	}
	return total
}
