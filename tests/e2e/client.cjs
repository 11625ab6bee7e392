// A client of the hub under Node with the package `ws`. What it is told to do and what it tells comes
// and goes as JSON lines on a TCP connection to run.py, where the lines are described.
//
// Usage: node client.cjs CONTROL_PORT NAME
"use strict";

const net = require("node:net");
const readline = require("node:readline");
const WebSocket = require("ws");

const [port, name] = process.argv.slice(2);
const control = net.connect(Number(port), "127.0.0.1");
const tell = (value) => control.write(JSON.stringify(value) + "\n");
let socket;

const orders = {
  connect(order) {
    socket = new WebSocket(`ws://${order.host}:${order.port}/connect?from=node`);
    socket.on("open", () => tell({ told: "connected", extensions: socket.extensions }));
    socket.on("message", (data, isBinary) => {
      if (isBinary) throw new Error("a binary frame to a client of v1");
      tell({ told: "frame", value: JSON.parse(data.toString("utf8")) });
    });
    socket.on("close", (code, reason) => tell({ told: "closed", code, reason: reason.toString() }));
  },
  send(order) {
    socket.send(JSON.stringify(order.command));
  },
};

control.on("connect", () => tell({ told: "ready", name }));
control.on("close", () => process.exit(0));
readline.createInterface({ input: control }).on("line", (line) => {
  const order = JSON.parse(line);
  orders[order.do](order);
});
