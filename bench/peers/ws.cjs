// A hub on the npm package `ws`, as one would write it there: `node ws.cjs PORT`.
//
// It speaks what the load generator needs of Skynet's protocol: JSON.parse, an ID and a time, one
// JSON.stringify, and one send for each listener. It has no log, no limits and no errors.

const { WebSocketServer } = require("ws");

const listeners = new Map(); // channel -> Set of sockets
let messages = 0;

function of(channel) {
  let set = listeners.get(channel);
  if (!set) listeners.set(channel, (set = new Set()));
  return set;
}

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.argv[2]),
  perMessageDeflate: false,
  backlog: 4096,
});

server.on("connection", (socket) => {
  const open = new Set();
  socket.on("error", () => socket.terminate());
  socket.on("close", () => open.forEach((set) => set.delete(socket)));
  socket.on("message", (data) => {
    const command = JSON.parse(data);
    const { channel } = command;
    if (command.type === "open") {
      open.add(of(channel).add(socket));
      socket.send(JSON.stringify({ type: "result", for: "open", channels: [channel] }));
      return;
    }
    command.ID = (++messages).toString(16).padStart(32, "0");
    command.time = Date.now();
    const event = Buffer.from(JSON.stringify(command));
    for (const set of [listeners.get(channel), listeners.get("*")]) {
      if (!set) continue;
      for (const listener of set) if (listener !== socket) listener.send(event, { binary: false });
    }
    socket.send(JSON.stringify({ ...command, type: "result", for: "message" }));
  });
});
