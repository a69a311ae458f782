package discordd

import (
	"encoding/json"
	"time"
)

// The wire forms follow Discord's documentation of API versions 9 and 10.
// Fields with the tag "-" are the stand-in's own knowledge, for tests.

// User is an account.
type User struct {
	ID         string `json:"id"`
	Username   string `json:"username"`
	GlobalName string `json:"global_name,omitempty"`
	Bot        bool   `json:"bot,omitempty"`

	// NoDMs makes direct messages to this user fail with 50007.
	NoDMs bool `json:"-"`
	// Locale is what interactions say; en-US when empty.
	Locale string `json:"-"`
}

// MarshalJSON adds the fields that Discord always sends.
func (u User) MarshalJSON() ([]byte, error) {
	var global any
	if u.GlobalName != "" {
		global = u.GlobalName
	}
	return json.Marshal(map[string]any{
		"id": u.ID, "username": u.Username, "global_name": global, "discriminator": "0",
		"avatar": nil, "bot": u.Bot, "system": false, "public_flags": 0,
	})
}

// Role is a role of a guild. The role whose ID is the guild's is @everyone.
type Role struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Color       int    `json:"color"`
	Hoist       bool   `json:"hoist"`
	Position    int    `json:"position"`
	Permissions Perm   `json:"permissions"`
	Managed     bool   `json:"managed"`
	Mentionable bool   `json:"mentionable"`
	Flags       int    `json:"flags"`
}

// Overwrite changes the permissions of a role or a member in one channel.
type Overwrite struct {
	ID    string `json:"id"`
	Type  int    `json:"type"` // 0 role, 1 member
	Allow Perm   `json:"allow"`
	Deny  Perm   `json:"deny"`
}

// Channel is a guild's text channel, a thread, or a direct message.
type Channel struct {
	ID       string      `json:"id"`
	Type     int         `json:"type"`
	GuildID  string      `json:"guild_id,omitempty"`
	Name     string      `json:"name,omitempty"`
	Topic    string      `json:"topic,omitempty"`
	ParentID string      `json:"parent_id,omitempty"`
	Position int         `json:"position"`
	Over     []Overwrite `json:"permission_overwrites,omitempty"`
	NSFW     bool        `json:"nsfw"`

	LastMessageID string  `json:"last_message_id,omitempty"`
	Recipients    []User  `json:"recipients,omitempty"`
	OwnerID       string  `json:"owner_id,omitempty"`
	Thread        *Thread `json:"thread_metadata,omitempty"`
	MessageCount  int     `json:"message_count,omitempty"`
	TotalSent     int     `json:"total_message_sent,omitempty"`
	MemberCount   int     `json:"member_count,omitempty"`
	RateLimit     int     `json:"rate_limit_per_user"`
	NewlyCreated  bool    `json:"newly_created,omitempty"`

	Deleted bool `json:"-"`
}

// Kinds of channels.
const (
	ChannelText          = 0
	ChannelDM            = 1
	ChannelAnnounceThr   = 10
	ChannelPublicThread  = 11
	ChannelPrivateThread = 12
)

// IsThread says whether the channel is a thread.
func (c Channel) IsThread() bool { return c.Type >= 10 && c.Type <= 12 }

// Thread is what a thread has over a channel.
type Thread struct {
	Archived    bool      `json:"archived"`
	AutoArchive int       `json:"auto_archive_duration"` // minutes
	ArchivedAt  time.Time `json:"archive_timestamp"`
	Locked      bool      `json:"locked"`
	Invitable   bool      `json:"invitable,omitempty"`
	CreatedAt   time.Time `json:"create_timestamp"`
}

// Flags of messages.
const (
	FlagSuppressEmbeds = 1 << 2
	FlagHasThread      = 1 << 5
	FlagEphemeral      = 1 << 6
	FlagLoading        = 1 << 7
	FlagSilent         = 1 << 12
	FlagComponentsV2   = 1 << 15
)

// Kinds of messages.
const (
	MessageDefault        = 0
	MessageThreadCreated  = 18
	MessageReply          = 19
	MessageSlashCommand   = 20
	MessageThreadStarter  = 21
	MessageContextCommand = 23
)

// Message is one revision of a message.
type Message struct {
	ID              string               `json:"id"`
	ChannelID       string               `json:"channel_id"`
	GuildID         string               `json:"guild_id,omitempty"`
	ChannelType     *int                 `json:"channel_type,omitempty"` // only in gateway events
	Author          User                 `json:"author"`
	Member          *Member              `json:"member,omitempty"`
	Content         string               `json:"content"`
	Timestamp       time.Time            `json:"timestamp"`
	EditedTimestamp *time.Time           `json:"edited_timestamp"`
	TTS             bool                 `json:"tts"`
	MentionEveryone bool                 `json:"mention_everyone"`
	Mentions        []User               `json:"mentions"`
	MentionRoles    []string             `json:"mention_roles"`
	Attachments     []Attachment         `json:"attachments"`
	Embeds          []Embed              `json:"embeds"`
	Reactions       []Reaction           `json:"reactions,omitempty"`
	Nonce           any                  `json:"nonce,omitempty"`
	Pinned          bool                 `json:"pinned"`
	WebhookID       string               `json:"webhook_id,omitempty"`
	Type            int                  `json:"type"`
	ApplicationID   string               `json:"application_id,omitempty"`
	Flags           int                  `json:"flags"`
	Reference       *MessageReference    `json:"message_reference,omitempty"`
	Referenced      *Message             `json:"referenced_message,omitempty"`
	Interaction     *InteractionMetadata `json:"interaction_metadata,omitempty"`
	Thread          *Channel             `json:"thread,omitempty"`
	Components      []Component          `json:"components"`

	// VisibleTo is the only user who sees an ephemeral message.
	VisibleTo string `json:"-"`
	// Revision counts the edits; 0 is the message as it was posted.
	Revision int `json:"-"`
	// Deleted messages stay readable for tests.
	Deleted bool `json:"-"`
	// Allowed is the allowed_mentions object of the last create or edit that
	// carried one; nil when there was none.
	Allowed *AllowedMentions `json:"-"`
}

// Text is everything that a reader sees as text, in order: the content, the
// embeds and the text displays.
func (m Message) Text() string {
	out := m.Content
	add := func(s string) {
		if s != "" {
			if out != "" {
				out += "\n"
			}
			out += s
		}
	}
	for _, e := range m.Embeds {
		add(e.Title)
		add(e.Description)
		for _, f := range e.Fields {
			add(f.Name)
			add(f.Value)
		}
		if e.Footer != nil {
			add(e.Footer.Text)
		}
	}
	walk(m.Components, func(c *Component) {
		if c.Type == TypeTextDisplay {
			add(c.Content)
		}
	})
	return out
}

// Button finds the button, or the select menu, with a custom id in this
// revision.
func (m Message) Button(customID string) (Component, bool) {
	var found Component
	var ok bool
	walk(m.Components, func(c *Component) {
		if c.CustomID == customID && !ok {
			found, ok = *c, true
		}
	})
	return found, ok
}

// ButtonLabelled finds the enabled button with a label in this revision.
func (m Message) ButtonLabelled(label string) (Component, bool) {
	var found Component
	var ok bool
	walk(m.Components, func(c *Component) {
		if c.Type == TypeButton && c.Label == label && !c.Disabled && !ok {
			found, ok = *c, true
		}
	})
	return found, ok
}

// MessageReference is what a reply refers to.
type MessageReference struct {
	Type            int    `json:"type"`
	MessageID       string `json:"message_id,omitempty"`
	ChannelID       string `json:"channel_id,omitempty"`
	GuildID         string `json:"guild_id,omitempty"`
	FailIfNotExists *bool  `json:"fail_if_not_exists,omitempty"`
}

// InteractionMetadata says which interaction a message answers.
type InteractionMetadata struct {
	ID         string            `json:"id"`
	Type       int               `json:"type"`
	User       User              `json:"user"`
	Owners     map[string]string `json:"authorizing_integration_owners"`
	OriginalID string            `json:"original_response_message_id,omitempty"`
	MessageID  string            `json:"interacted_message_id,omitempty"`
}

// AllowedMentions limits whom a message may notify.
type AllowedMentions struct {
	Parse       []string `json:"parse"`
	Roles       []string `json:"roles,omitempty"`
	Users       []string `json:"users,omitempty"`
	RepliedUser bool     `json:"replied_user,omitempty"`

	hasParse bool
}

// UnmarshalJSON remembers whether parse was given: absent and empty differ
// when users or roles are listed.
func (a *AllowedMentions) UnmarshalJSON(b []byte) error {
	type plain AllowedMentions
	var p plain
	if err := json.Unmarshal(b, &p); err != nil {
		return err
	}
	*a = AllowedMentions(p)
	a.hasParse = p.Parse != nil
	return nil
}

// Attachment is a file of a message.
type Attachment struct {
	ID          string `json:"id"`
	Filename    string `json:"filename"`
	Description string `json:"description,omitempty"`
	ContentType string `json:"content_type,omitempty"`
	Size        int    `json:"size"`
	URL         string `json:"url"`
	ProxyURL    string `json:"proxy_url"`
	Width       int    `json:"width,omitempty"`
	Height      int    `json:"height,omitempty"`
	Ephemeral   bool   `json:"ephemeral,omitempty"`

	// Data is the file.
	Data []byte `json:"-"`
}

// Embed is the older kind of card.
type Embed struct {
	Title       string       `json:"title,omitempty"`
	Type        string       `json:"type,omitempty"`
	Description string       `json:"description,omitempty"`
	URL         string       `json:"url,omitempty"`
	Timestamp   string       `json:"timestamp,omitempty"`
	Color       *int         `json:"color,omitempty"`
	Footer      *EmbedFooter `json:"footer,omitempty"`
	Image       *EmbedMedia  `json:"image,omitempty"`
	Thumbnail   *EmbedMedia  `json:"thumbnail,omitempty"`
	Author      *EmbedAuthor `json:"author,omitempty"`
	Fields      []EmbedField `json:"fields,omitempty"`
}

// EmbedFooter is the small print of an embed.
type EmbedFooter struct {
	Text    string `json:"text"`
	IconURL string `json:"icon_url,omitempty"`
}

// EmbedMedia is a picture of an embed.
type EmbedMedia struct {
	URL      string `json:"url"`
	ProxyURL string `json:"proxy_url,omitempty"`
}

// EmbedAuthor stands above the title.
type EmbedAuthor struct {
	Name    string `json:"name"`
	URL     string `json:"url,omitempty"`
	IconURL string `json:"icon_url,omitempty"`
}

// EmbedField is a name and a value.
type EmbedField struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Inline bool   `json:"inline,omitempty"`
}

// Reaction counts one emoji.
type Reaction struct {
	Count int   `json:"count"`
	Me    bool  `json:"me"`
	Emoji Emoji `json:"emoji"`

	Users []string `json:"-"`
}

// Emoji is a Unicode emoji (no ID) or a custom one.
type Emoji struct {
	ID       string `json:"id,omitempty"`
	Name     string `json:"name"`
	Animated bool   `json:"animated,omitempty"`
}

// Kinds of components.
const (
	TypeActionRow         = 1
	TypeButton            = 2
	TypeStringSelect      = 3
	TypeTextInput         = 4
	TypeUserSelect        = 5
	TypeRoleSelect        = 6
	TypeMentionableSelect = 7
	TypeChannelSelect     = 8
	TypeSection           = 9
	TypeTextDisplay       = 10
	TypeThumbnail         = 11
	TypeMediaGallery      = 12
	TypeFile              = 13
	TypeSeparator         = 14
	TypeContainer         = 17
	TypeLabel             = 18
	TypeFileUpload        = 19
	TypeRadioGroup        = 21
	TypeCheckboxGroup     = 22
	TypeCheckbox          = 23
)

// Component is any component; which fields are used depends on Type.
type Component struct {
	Type        int            `json:"type"`
	ID          int            `json:"id,omitempty"`
	CustomID    string         `json:"custom_id,omitempty"`
	Style       int            `json:"style,omitempty"`
	Label       string         `json:"label,omitempty"`
	Description string         `json:"description,omitempty"`
	Emoji       *Emoji         `json:"emoji,omitempty"`
	URL         string         `json:"url,omitempty"`
	SKU         string         `json:"sku_id,omitempty"`
	Disabled    bool           `json:"disabled,omitempty"`
	Placeholder string         `json:"placeholder,omitempty"`
	MinValues   *int           `json:"min_values,omitempty"`
	MaxValues   *int           `json:"max_values,omitempty"`
	Options     []SelectOption `json:"options,omitempty"`
	Channels    []int          `json:"channel_types,omitempty"`
	Defaults    []any          `json:"default_values,omitempty"`
	MinLength   *int           `json:"min_length,omitempty"`
	MaxLength   *int           `json:"max_length,omitempty"`
	Required    *bool          `json:"required,omitempty"`
	Value       string         `json:"value,omitempty"`
	Content     string         `json:"content,omitempty"`
	Components  []Component    `json:"components,omitempty"`
	Component   *Component     `json:"component,omitempty"`
	Accessory   *Component     `json:"accessory,omitempty"`
	Media       *Media         `json:"media,omitempty"`
	Items       []MediaItem    `json:"items,omitempty"`
	File        *Media         `json:"file,omitempty"`
	Name        string         `json:"name,omitempty"`
	Size        int            `json:"size,omitempty"`
	Divider     *bool          `json:"divider,omitempty"`
	Spacing     *int           `json:"spacing,omitempty"`
	AccentColor *int           `json:"accent_color,omitempty"`
	Spoiler     bool           `json:"spoiler,omitempty"`
}

// SelectOption is one choice of a string select, radio or checkbox group.
type SelectOption struct {
	Label       string `json:"label"`
	Value       string `json:"value"`
	Description string `json:"description,omitempty"`
	Emoji       *Emoji `json:"emoji,omitempty"`
	Default     bool   `json:"default,omitempty"`
}

// Media is a picture or file given by URL or attachment://name.
type Media struct {
	URL          string `json:"url"`
	ProxyURL     string `json:"proxy_url,omitempty"`
	ContentType  string `json:"content_type,omitempty"`
	AttachmentID string `json:"attachment_id,omitempty"`
}

// MediaItem is one picture of a gallery.
type MediaItem struct {
	Media       Media  `json:"media"`
	Description string `json:"description,omitempty"`
	Spoiler     bool   `json:"spoiler,omitempty"`
}

// walk visits components depth first, as they are read on the screen.
func walk(cs []Component, visit func(*Component)) {
	for i := range cs {
		c := &cs[i]
		visit(c)
		walk(c.Components, visit)
		if c.Accessory != nil {
			visit(c.Accessory)
		}
		if c.Component != nil {
			visit(c.Component)
		}
	}
}

// Member is a user's membership of a guild.
type Member struct {
	User     *User     `json:"user,omitempty"`
	Nick     string    `json:"nick,omitempty"`
	Roles    []string  `json:"roles"`
	JoinedAt time.Time `json:"joined_at"`
	Deaf     bool      `json:"deaf"`
	Mute     bool      `json:"mute"`
	Flags    int       `json:"flags"`
	Pending  bool      `json:"pending"`

	Permissions Perm `json:"permissions,omitempty"`
}

// Modal is a form that the bot opened.
type Modal struct {
	CustomID   string      `json:"custom_id"`
	Title      string      `json:"title"`
	Components []Component `json:"components"`
}

// Choice is one suggestion of an autocomplete, or one fixed choice of an option.
type Choice struct {
	Name  string `json:"name"`
	Value any    `json:"value"`
}

// Command is a registered application command.
type Command struct {
	ID          string          `json:"id"`
	Type        int             `json:"type"`
	Application string          `json:"application_id"`
	GuildID     string          `json:"guild_id,omitempty"`
	Name        string          `json:"name"`
	Description string          `json:"description"`
	Options     []CommandOption `json:"options,omitempty"`
	Permissions *string         `json:"default_member_permissions"`
	NSFW        bool            `json:"nsfw"`
	Version     string          `json:"version"`
	Contexts    []int           `json:"contexts,omitempty"`
	Integration []int           `json:"integration_types,omitempty"`
	DM          *bool           `json:"dm_permission,omitempty"`
}

// Kinds of commands.
const (
	CommandChat    = 1
	CommandUser    = 2
	CommandMessage = 3
)

// CommandOption is a parameter or a sub-command.
type CommandOption struct {
	Type         int             `json:"type"`
	Name         string          `json:"name"`
	Description  string          `json:"description"`
	Required     bool            `json:"required,omitempty"`
	Choices      []Choice        `json:"choices,omitempty"`
	Options      []CommandOption `json:"options,omitempty"`
	MinValue     *float64        `json:"min_value,omitempty"`
	MaxValue     *float64        `json:"max_value,omitempty"`
	MinLength    *int            `json:"min_length,omitempty"`
	MaxLength    *int            `json:"max_length,omitempty"`
	Autocomplete bool            `json:"autocomplete,omitempty"`
	Channels     []int           `json:"channel_types,omitempty"`
}

// Kinds of command options.
const (
	OptionSubCommand = 1
	OptionGroup      = 2
	OptionString     = 3
	OptionInteger    = 4
	OptionBoolean    = 5
	OptionUser       = 6
	OptionChannel    = 7
	OptionRole       = 8
	OptionMention    = 9
	OptionNumber     = 10
	OptionAttachment = 11
)

// opt is a JSON field that may be absent, null or present.
type opt[T any] struct {
	set   bool
	value *T // nil when null or absent
}

func (o *opt[T]) UnmarshalJSON(b []byte) error {
	o.set = true
	return json.Unmarshal(b, &o.value)
}

// or is the value, or def when the field is absent or null.
func (o opt[T]) or(def T) T {
	if o.value == nil {
		return def
	}
	return *o.value
}
