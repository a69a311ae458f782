package discordd

// The ids of [Example].
const (
	ExampleGuild     = "1200000000000000001"
	ExampleIncidents = "1200000000000000011"
	ExampleGeneral   = "1200000000000000012"
	ExampleSilent    = "1200000000000000013" // the bot may read but not write
	ExampleOnCall    = "1200000000000000021" // role
	ExampleLeads     = "1200000000000000022" // role
	ExampleAlice     = "1300000000000000001" // no role
	ExampleBob       = "1300000000000000002" // on call
	ExampleCarol     = "1300000000000000003" // on call and lead
	ExampleMallory   = "1300000000000000004" // not a member of the guild
	ExampleOtherBot  = "1300000000000000005" // another bot, a member with every role
)

// Example is a small world: one guild with three channels, two roles, three
// people, one stranger and another bot.
func Example() Config {
	app := "1100000000000000001"
	return Config{
		ApplicationID: app,
		BotName:       "kgent",
		Users: []User{
			{ID: ExampleAlice, Username: "alice", GlobalName: "Alice"},
			{ID: ExampleBob, Username: "bob", GlobalName: "Bob"},
			{ID: ExampleCarol, Username: "carol", GlobalName: "Carol"},
			{ID: ExampleMallory, Username: "mallory", GlobalName: "Mallory"},
			{ID: ExampleOtherBot, Username: "deploybot", Bot: true},
		},
		Guilds: []Guild{{
			ID: ExampleGuild, Name: "Kernel Ops", Owner: "1300000000000000099",
			Roles: []Role{
				{ID: ExampleOnCall, Name: "on-call", Color: 0x2ecc71, Position: 1, Mentionable: true},
				{ID: ExampleLeads, Name: "leads", Color: 0xe67e22, Position: 2},
			},
			Channels: []Channel{
				{ID: ExampleIncidents, Name: "incidents", Topic: "What is on fire"},
				{ID: ExampleGeneral, Name: "general"},
				{ID: ExampleSilent, Name: "announcements", Over: []Overwrite{{ID: app, Type: 1, Deny: PermSendMessages}}},
			},
			Members: map[string][]string{
				ExampleAlice:    nil,
				ExampleBob:      {ExampleOnCall},
				ExampleCarol:    {ExampleOnCall, ExampleLeads},
				ExampleOtherBot: {ExampleOnCall, ExampleLeads},
			},
		}},
	}
}
