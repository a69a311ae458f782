// A small bot over discord.js. The test plays the users against it.
'use strict';
const {
  Client, GatewayIntentBits, Partials, Events, REST, Routes, ActionRowBuilder, ButtonBuilder, ButtonStyle, ModalBuilder,
  TextInputBuilder, TextInputStyle, SlashCommandBuilder, AttachmentBuilder, MessageFlags, ContainerBuilder, TextDisplayBuilder,
  SeparatorBuilder, FileBuilder, MediaGalleryBuilder, ContextMenuCommandBuilder, ApplicationCommandType,
} = require('discord.js');

const { DISCORD_TOKEN: token, DISCORD_API_URL: api, DISCORD_APPLICATION_ID: app, GUILD: guild } = process.env;
const client = new Client({
  rest: { api },
  intents: [GatewayIntentBits.Guilds, GatewayIntentBits.GuildMessages, GatewayIntentBits.DirectMessages, GatewayIntentBits.MessageContent],
  partials: [Partials.Channel],
});
const say = (...words) => console.log(words.join(' '));
client.on(Events.Error, (e) => say('error', e.message));
client.on(Events.Warn, (w) => say('warn', w));
client.on(Events.ShardResume, (id, replayed) => say('resumed', replayed));
client.on(Events.Debug, (d) => { if (process.env.DEBUG) say('debug', d); });

client.once(Events.ClientReady, async (c) => {
  const commands = [
    new SlashCommandBuilder().setName('trace').setDescription('Trace something')
      .addStringOption((o) => o.setName('what').setDescription('What to trace').setRequired(true).setAutocomplete(true)),
    new ContextMenuCommandBuilder().setName('Trace this').setType(ApplicationCommandType.Message),
  ].map((b) => b.toJSON());
  await new REST({ api }).setToken(token).put(Routes.applicationGuildCommands(app, guild), { body: commands });
  say('ready', c.user.tag, c.guilds.cache.get(guild).name);
});

client.on(Events.MessageCreate, async (m) => {
  if (m.author.bot) return;
  say('message', m.content);
  if (!m.mentions.has(client.user)) return;
  const thread = await m.startThread({ name: 'trace', autoArchiveDuration: 1440 });
  const sent = await thread.send({
    flags: MessageFlags.IsComponentsV2,
    files: [new AttachmentBuilder(Buffer.from('a,b\n1,2\n'), { name: 'out.csv' }),
      new AttachmentBuilder(Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64'), { name: 'dot.png' })],
    components: [new ContainerBuilder().setAccentColor(0x5865f2)
      .addTextDisplayComponents(new TextDisplayBuilder().setContent('# Result\nfor <@' + m.author.id + '>'))
      .addSeparatorComponents(new SeparatorBuilder())
      .addMediaGalleryComponents(new MediaGalleryBuilder().addItems({ media: { url: 'attachment://dot.png' } }))
      .addFileComponents(new FileBuilder().setURL('attachment://out.csv'))],
    allowedMentions: { parse: [] },
  });
  say('sent', sent.id, sent.components[0].components.length);
  const page = await (await fetch([...sent.attachments.values()].find((a) => a.name === 'out.csv').url)).text();
  say('file', JSON.stringify(page));
});

client.on(Events.ThreadCreate, (t, fresh) => say('thread', t.name, fresh));
client.on(Events.ThreadUpdate, (before, after) => say('archived', after.archived));

client.on(Events.InteractionCreate, async (i) => {
  try {
    say('interaction', i.id, i.type);
    if (i.isAutocomplete()) {
      await i.respond([{ name: 'opens of ' + i.options.getFocused(), value: 'opens' }]);
    } else if (i.isChatInputCommand()) {
      const row = new ActionRowBuilder().addComponents(
        new ButtonBuilder().setCustomId('go').setLabel('Go').setStyle(ButtonStyle.Primary),
        new ButtonBuilder().setCustomId('form').setLabel('Form').setStyle(ButtonStyle.Secondary));
      const r = await i.reply({ content: 'trace ' + i.options.getString('what') + '?', components: [row], withResponse: true });
      say('replied', r.resource.message.id);
    } else if (i.isMessageContextMenuCommand()) {
      await i.deferReply({ flags: MessageFlags.Ephemeral });
      await i.editReply('about: ' + i.targetMessage.content);
    } else if (i.isButton() && i.customId === 'go') {
      await i.update({ content: 'going', components: i.message.components });
    } else if (i.isButton()) {
      await i.showModal(new ModalBuilder().setCustomId('why').setTitle('Why?').addComponents(new ActionRowBuilder().addComponents(
        new TextInputBuilder().setCustomId('reason').setLabel('Reason').setStyle(TextInputStyle.Paragraph))));
    } else if (i.isModalSubmit()) {
      await i.reply({ content: 'because ' + i.fields.getTextInputValue('reason'), flags: MessageFlags.Ephemeral });
      const f = await i.followUp({ content: 'and more', flags: MessageFlags.Ephemeral });
      say('followed', f.id);
    }
  } catch (e) {
    say('failed', e.code, e.message);
  }
});

process.on('SIGTERM', async () => { await client.destroy(); process.exit(0); });
client.login(token);
