// A small bot on Slack's own framework, over Socket Mode or, with HTTP set,
// over signed HTTP: a mention gets a button, the button a modal, the modal an
// ephemeral message and a file.
const { App, LogLevel } = require('@slack/bolt');

const env = process.env;
const options = { token: env.SLACK_BOT_TOKEN, logLevel: LogLevel.ERROR, clientOptions: { slackApiUrl: env.SLACK_API_URL } };
if (env.HTTP) {
  options.signingSecret = env.SLACK_SIGNING_SECRET;
} else {
  options.socketMode = true;
  options.appToken = env.SLACK_APP_TOKEN;
  options.installerOptions = { clientOptions: { slackApiUrl: env.SLACK_API_URL } };
}
const app = new App(options);

app.event('app_mention', async ({ event, say }) => {
  await say({
    thread_ts: event.ts,
    text: 'shall I?',
    blocks: [
      { type: 'section', text: { type: 'mrkdwn', text: `<@${event.user}> asks` } },
      { type: 'actions', elements: [{ type: 'button', action_id: 'go', value: event.ts, text: { type: 'plain_text', text: 'Go' }, style: 'primary' }] },
    ],
  });
});

app.action('go', async ({ ack, action, body, client, respond }) => {
  await ack();
  await client.views.open({
    trigger_id: body.trigger_id,
    view: {
      type: 'modal',
      callback_id: 'reason',
      private_metadata: JSON.stringify({ channel: body.channel.id, thread: action.value }),
      title: { type: 'plain_text', text: 'Reason' },
      submit: { type: 'plain_text', text: 'Send' },
      blocks: [{ type: 'input', block_id: 'why', label: { type: 'plain_text', text: 'Why' }, element: { type: 'plain_text_input', action_id: 'text' } }],
    },
  });
  await client.chat.update({ channel: body.channel.id, ts: body.message.ts, text: 'going', blocks: [] });
  await respond({ replace_original: false, text: 'a modal is open' });
});

app.view('reason', async ({ ack, view, body, client }) => {
  const text = view.state.values.why.text.value;
  if (text === 'bad') {
    await ack({ response_action: 'errors', errors: { why: 'not this' } });
    return;
  }
  await ack();
  const { channel, thread } = JSON.parse(view.private_metadata);
  await client.chat.postEphemeral({ channel, thread_ts: thread, user: body.user.id, text: `because ${text}` });
  await client.files.uploadV2({ channel_id: channel, thread_ts: thread, filename: 'out.txt', title: 'Output', content: 'line 1\nline 2\n', initial_comment: 'all of it' });
});

app.command('/kgent', async ({ ack, command }) => ack(`you said ${command.text}`));

app.shortcut('kgent_trace', async ({ ack, shortcut, client }) => {
  await ack();
  await client.reactions.add({ channel: shortcut.channel.id, timestamp: shortcut.message.ts, name: 'eyes' });
});

app.event('app_home_opened', async ({ event, client }) => {
  await client.views.publish({
    user_id: event.user,
    view: { type: 'home', blocks: [{ type: 'header', text: { type: 'plain_text', text: 'At home' } }] },
  });
});

(async () => {
  const server = await app.start(env.HTTP ? { port: 0, host: '127.0.0.1' } : undefined);
  console.log(`ready ${env.HTTP ? server.address().port : ''}`);
})();
