// The owner's API as somebody with nothing but a browser uses it: Swagger UI at /docs, in Chromium.
//
// Presses "Authorize" and gives the token, tries out the list of channels, tries out posting a message,
// and a websocket client receives that message. The page may talk to the server that it came from and
// to nobody else. What the page shows is looked up by the operations of /openapi.json, not by their
// place on the page.
//
// Usage: node swagger.cjs ADMIN_ADDRESS HUB_ADDRESS [SCREENSHOT.png]   (the token in SKYNET_E2E_TOKEN)
// Needs ws and playwright-core (NODE_PATH), and Chromium at /usr/bin/chromium.
"use strict";

const assert = require("node:assert/strict");
const { chromium } = require("playwright-core");
const WebSocket = require("ws");

const DEADLINE_MS = 15_000;
const CHANNEL = "from the browser";
const MESSAGE = { channel: CHANNEL, message: { text: "posted with Swagger UI" }, urgent: true };

const [admin, hub, screenshot] = process.argv.slice(2);
const token = process.env.SKYNET_E2E_TOKEN;
const cleanups = [];
// What the page asked of other hosts, and what went wrong in its scripts.
const strangers = [];
const broken = [];

// A client of the hub: its frames in order, each to be awaited.
async function listener() {
  const socket = new WebSocket(`ws://${hub}/connect`);
  cleanups.push(() => socket.terminate());
  const frames = [];
  let wake = () => {};
  socket.on("message", (data) => {
    frames.push(JSON.parse(data.toString()));
    wake();
  });
  await new Promise((opened, failed) => socket.once("open", opened).once("error", failed));
  const next = async () => {
    if (frames.length === 0) {
      let late;
      const deadline = new Promise((_, failed) => {
        late = setTimeout(() => failed(new Error("the listener received nothing")), DEADLINE_MS);
      });
      await Promise.race([new Promise((come) => (wake = come)), deadline]);
      clearTimeout(late);
    }
    return frames.shift();
  };
  return { send: (command) => socket.send(JSON.stringify(command)), next };
}

// The operation of a method and a path in the document that the page shows.
async function operation(method, path) {
  const document = await (await fetch(`http://${admin}/openapi.json`)).json();
  const found = Object.entries(document.paths).find(([name]) => name.endsWith(path));
  assert(found, `the document has a path ${path}`);
  const { operationId, tags } = found[1][method];
  return { operationId, block: `#operations-${tags[0].replaceAll(" ", "_")}-${operationId}` };
}

async function browser() {
  const browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    // No other name or address can be reached either, not even by what is no request of the page.
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-dev-shm-usage",
      "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ],
  });
  cleanups.push(() => browser.close());
  const page = await browser.newPage({ viewport: { width: 1100, height: 900 } });
  page.setDefaultTimeout(DEADLINE_MS);
  await page.route("**", (route) => {
    const url = new URL(route.request().url());
    if (url.protocol === "data:" || url.protocol === "blob:" || url.host === admin) {
      return route.continue();
    }
    strangers.push(url.href);
    return route.abort();
  });
  page.on("websocket", (socket) => strangers.push(socket.url()));
  page.on("pageerror", (error) => broken.push(String(error)));
  return page;
}

// Opens an operation, fills in the body if there is one, executes it, and returns what it shows.
async function tryOut(page, method, path, body) {
  const { block } = await operation(method, path);
  const section = page.locator(block);
  await section.locator(".opblock-summary-control").click();
  await section.getByRole("button", { name: "Try it out" }).click();
  if (body !== undefined) {
    await section.locator("textarea.body-param__text").fill(JSON.stringify(body));
  }
  await section.getByRole("button", { name: "Execute" }).click();
  const answer = section.locator(".live-responses-table .response");
  const status = await answer.locator(".response-col_status").innerText();
  const text = await answer.locator(".response-col_description .highlight-code code").first().innerText();
  return { section, status: status.trim().split(/\s/)[0], body: JSON.parse(text) };
}

async function main() {
  const client = await listener();
  client.send({ type: "open", channel: CHANNEL });
  assert.equal((await client.next()).for, "open");

  const page = await browser();
  await page.goto(`http://${admin}/docs`);
  console.log("ok      the page opens");

  await page.getByRole("button", { name: "Authorize" }).first().click();
  const dialog = page.locator(".auth-container", { has: page.locator("input") }).first();
  await dialog.locator("input").fill(token);
  await dialog.getByRole("button", { name: "Apply credentials" }).click();
  await page.locator(".modal-ux").getByRole("button", { name: "Close" }).last().click();
  console.log("ok      the token is taken");

  const channels = await tryOut(page, "get", "/channels");
  assert.equal(channels.status, "200", "the list of channels");
  assert(JSON.stringify(channels.body).includes(JSON.stringify(CHANNEL)), "the list holds the channel");
  if (screenshot) {
    // The answer, below the button that asked for it.
    await channels.section.locator(".btn-group").evaluate((button) => button.scrollIntoView());
    await page.screenshot({ path: screenshot });
  }
  console.log("ok      the channels are listed");

  const posted = await tryOut(page, "post", "/messages", MESSAGE);
  assert.equal(posted.status, "201", "the message is posted");
  const event = await client.next();
  const { ID, time, ...sent } = event;
  assert.deepEqual(sent, { type: "message", ...MESSAGE }, "the listener receives what was posted");
  assert(typeof ID === "string" && typeof time === "number", "the event has ID and time");
  assert(JSON.stringify(posted.body).includes(ID), "the answer tells the ID of the message");
  console.log("ok      a message is posted, and the websocket client receives it");

  assert.deepEqual(strangers, [], "the page asks no other host");
  assert.deepEqual(broken, [], "no script of the page fails");
  console.log("ok      no other host was asked");
}

main()
  .catch((error) => {
    console.log(`FAILED  ${error.stack}`, ...broken);
    process.exitCode = 1;
  })
  .finally(async () => {
    for (const cleanup of cleanups) await cleanup();
  });
