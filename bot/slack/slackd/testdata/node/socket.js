// A bot on Slack's lower layers alone: the Socket Mode client and the Web API
// client. It echoes mentions once per event, whatever the number of deliveries.
const { SocketModeClient } = require('@slack/socket-mode');
const { WebClient } = require('@slack/web-api');

const env = process.env;
const clientOptions = { slackApiUrl: env.SLACK_API_URL };
const socket = new SocketModeClient({ appToken: env.SLACK_APP_TOKEN, clientOptions, logLevel: 'error', clientPingTimeout: 300 });
const web = new WebClient(env.SLACK_BOT_TOKEN, clientOptions);
const seen = new Set();

socket.on('app_mention', async ({ ack, body, event, retry_num }) => {
  try {
    await ack();
  } catch (err) {
    return; // the socket went away: Slack delivers again
  }
  console.log(`heard ${event.text.split(' ').slice(1).join(' ')} retry ${retry_num}`);
  if (seen.has(body.event_id)) return;
  seen.add(body.event_id);
  await web.chat.postMessage({ channel: event.channel, thread_ts: event.ts, text: `echo ${event.text.split(' ').slice(1).join(' ')}` });
});
socket.on('connected', () => console.log('connected'));
socket.start();
