// Draws the panels of a dashboard into a picture: esbuild bundles panels.jsx with Grafana's components,
// Chromium shows it, playwright-core takes the picture. The page has no network.
//
// Usage: node draw.cjs PICTURE.json OUT.png   (picture.py writes the former)
// Needs esbuild, playwright-core, @grafana/ui, @grafana/data, @grafana/i18n, react, react-dom and
// @fontsource/inter (NODE_PATH), and Chromium at /usr/bin/chromium.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { chromium } = require("playwright-core");
const esbuild = require("esbuild");

const DEADLINE_MS = 30_000;
const ORIGIN = "http://picture";
// Grafana's letters, by the names that its styles ask for.
const FONTS = {
  "Inter-Regular.woff2": "inter-latin-400-normal.woff2",
  "Inter-Medium.woff2": "inter-latin-500-normal.woff2",
};

async function bundle() {
  const made = await esbuild.build({
    entryPoints: [path.join(__dirname, "panels.jsx")],
    bundle: true,
    write: false,
    outdir: "/",
    format: "iife",
    jsx: "automatic",
    minify: true,
    nodePaths: process.env.NODE_PATH.split(path.delimiter),
    define: { "process.env.NODE_ENV": '"production"', global: "window" },
    loader: { ".woff": "dataurl", ".woff2": "dataurl", ".ttf": "dataurl", ".svg": "dataurl", ".png": "dataurl" },
    logLevel: "error",
  });
  return Object.fromEntries(made.outputFiles.map((file) => [path.basename(file.path), file.text]));
}

async function main([input, output]) {
  const picture = JSON.parse(fs.readFileSync(input, "utf8"));
  const files = await bundle();
  const icons = path.join(path.dirname(require.resolve("@grafana/ui/package.json")), "dist/public/img/icons");
  const html = `<!doctype html><meta charset="utf-8"><title>picture</title>
<link rel="stylesheet" href="panels.css"><div id="screen" style="position:relative"></div>
<script>window.picture = ${JSON.stringify(picture).replaceAll("<", "\\u003c")}</script>
<script src="panels.js"></script>`;
  const broken = [];
  const browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND"],
  });
  try {
    const page = await browser.newPage({ viewport: { width: picture.width, height: 800 } });
    page.setDefaultTimeout(DEADLINE_MS);
    await page.route("**", (route) => {
      const url = new URL(route.request().url());
      const name = url.pathname.slice(1);
      if (url.protocol === "data:") return route.continue();
      if (url.origin !== ORIGIN) broken.push(`asks for ${url}`);
      else if (name === "") return route.fulfill({ contentType: "text/html", body: html });
      else if (files[name] !== undefined) {
        return route.fulfill({ contentType: name.endsWith(".css") ? "text/css" : "text/javascript", body: files[name] });
      } else if (name.startsWith("public/build/img/icons/")) {
        return route.fulfill({ path: path.join(icons, path.normalize(name.slice(23))) });
      } else if (name.startsWith("public/fonts/inter/") && FONTS[path.basename(name)]) {
        return route.fulfill({ path: require.resolve(`@fontsource/inter/files/${FONTS[path.basename(name)]}`) });
      } else if (name !== "favicon.ico") broken.push(`asks for ${url}`);
      return route.abort();
    });
    page.on("pageerror", (error) => broken.push(String(error.stack ?? error)));
    await page.goto(`${ORIGIN}/`);
    const curves = picture.panels.filter(({ panel }) => panel.type === "timeseries").length;
    // Figures may have a curve of their own.
    await page
      .waitForFunction((least) => document.querySelectorAll(".uplot canvas").length >= least, curves)
      .catch((error) => broken.push(`less than ${curves} panels with curves: ${error}`));
    await page.waitForLoadState("networkidle");
    if (broken.length > 0) throw new Error(broken.join("\n"));
    await page.locator("#screen").screenshot({ path: output });
  } finally {
    await browser.close();
  }
}

main(process.argv.slice(2)).catch((error) => {
  console.error(`FAILED  ${error.stack}`);
  process.exitCode = 1;
});
