// The panels of a dashboard as Grafana's own components draw them: @grafana/data turns what Prometheus
// answered into frames and applies the field configuration of the panel; @grafana/ui draws the frame of
// the panel, its title, curves, legends and figures. What is ours is the grid, and which component
// stands for which type of panel. Other types than `stat` and `timeseries` are an error.
//
// Reads window.picture: {theme, width, from, to, panels: [{panel, answers: [{legend, series}]}]}, as
// picture.py writes it.

import {
  FieldConfigOptionsRegistry,
  FieldType,
  applyFieldOverrides,
  createTheme,
  dateTime,
  getDisplayValueAlignmentFactors,
  getFieldDisplayValues,
  toDataFrame,
} from "@grafana/data";
import { initPluginTranslations } from "@grafana/i18n";
import { BigValue, GlobalStyles, PanelChrome, ThemeContext, TimeSeries, VizRepeater } from "@grafana/ui";
import { useEffect, useState } from "react";
import { createRoot } from "react-dom/client";

const { picture } = window;
const theme = createTheme({ colors: { mode: picture.theme } });
const timeZone = "utc";

// Grafana's grid: 24 columns, rows of 30 pixels, gaps of 8.
const COLUMNS = 24;
const ROW = 30;
const GAP = 8;
const PADDING = 16;
const column = (picture.width - 2 * PADDING + GAP) / COLUMNS;

// What the plugin "timeseries" sets where the panel says nothing.
const TIME_SERIES = {
  drawStyle: "line",
  lineInterpolation: "linear",
  lineWidth: 1,
  fillOpacity: 0,
  gradientMode: "none",
  showPoints: "auto",
  pointSize: 5,
  spanNulls: false,
  axisPlacement: "auto",
  axisGridShow: true,
  axisColorMode: "text",
  scaleDistribution: { type: "linear" },
  stacking: { mode: "none", group: "A" },
  thresholdsStyle: { mode: "off" },
  hideFrom: { tooltip: false, viz: false, legend: false },
};
const STANDARD = [
  "color",
  "decimals",
  "displayName",
  "links",
  "mappings",
  "max",
  "min",
  "noValue",
  "thresholds",
  "unit",
];

// The properties that a panel's field configuration may set: those of every panel, and its own.
function registry(custom) {
  const property = (path, isCustom) => ({
    id: isCustom ? `custom.${path}` : path,
    path,
    name: path,
    isCustom,
    process: (value) => value,
    shouldApply: () => true,
  });
  return new FieldConfigOptionsRegistry(() => [
    ...STANDARD.map((path) => property(path, false)),
    ...custom.map((path) => property(path, true)),
  ]);
}

function frames({ panel, answers }) {
  const raw = answers.flatMap(({ refId, series }) =>
    series.map(({ name, labels, values }) =>
      toDataFrame({
        refId,
        fields: [
          { name: "Time", type: FieldType.time, config: {}, values: values.map(([time]) => time * 1000) },
          {
            name: "Value",
            type: FieldType.number,
            labels,
            config: name === null ? {} : { displayNameFromDS: name },
            // What is no number is a gap.
            values: values.map(([, value]) => (value === "NaN" ? null : Number(value))),
          },
        ],
      }),
    ),
  );
  const { defaults, overrides } = panel.fieldConfig;
  const custom = panel.type === "timeseries" ? { ...TIME_SERIES, ...defaults.custom } : (defaults.custom ?? {});
  return applyFieldOverrides({
    data: raw,
    fieldConfig: { defaults: { ...defaults, custom }, overrides },
    fieldConfigRegistry: registry(Object.keys(custom)),
    replaceVariables: (text) => text,
    theme,
    timeZone,
  });
}

const from = dateTime(picture.from * 1000);
const to = dateTime(picture.to * 1000);
const timeRange = { from, to, raw: { from, to } };

function Curves({ item, width, height }) {
  return (
    <TimeSeries
      frames={frames(item)}
      timeRange={timeRange}
      timeZone={timeZone}
      width={width}
      height={height}
      legend={item.panel.options.legend}
      options={item.panel.options}
    />
  );
}

function Figures({ item, width, height }) {
  const { options, fieldConfig } = item.panel;
  const values = () =>
    getFieldDisplayValues({
      data: frames(item),
      fieldConfig,
      reduceOptions: options.reduceOptions,
      replaceVariables: (text) => text,
      sparkline: options.graphMode !== "none",
      theme,
      timeZone,
    });
  return (
    <VizRepeater
      getValues={values}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={({ value, alignmentFactors, width, height, count }) => (
        <BigValue
          value={value.display}
          count={count}
          sparkline={value.sparkline}
          colorMode={options.colorMode}
          graphMode={options.graphMode}
          justifyMode={options.justifyMode}
          textMode={options.textMode}
          alignmentFactors={alignmentFactors}
          width={width}
          height={height}
          theme={theme}
          text={options.text}
          disableWideLayout={!options.wideLayout}
        />
      )}
      source={item}
      itemSpacing={3}
      autoGrid
      orientation={options.orientation}
      renderCounter={0}
      width={width}
      height={height}
    />
  );
}

function Panel({ item }) {
  const { title, description, gridPos, type } = item.panel;
  const style = {
    position: "absolute",
    left: PADDING + gridPos.x * column,
    top: PADDING + gridPos.y * (ROW + GAP),
  };
  const width = gridPos.w * column - GAP;
  const height = gridPos.h * (ROW + GAP) - GAP;
  if (type === "row") {
    return <div style={{ ...style, ...theme.typography.h6, lineHeight: `${height}px` }}>{title}</div>;
  }
  const Viz = { stat: Figures, timeseries: Curves }[type];
  if (Viz === undefined) {
    throw new Error(`panels of the type ${type} cannot be drawn here`);
  }
  return (
    <div style={style}>
      <PanelChrome title={title} description={description} width={width} height={height}>
        {(innerWidth, innerHeight) => <Viz item={item} width={innerWidth} height={innerHeight} />}
      </PanelChrome>
    </div>
  );
}

// The letters are there before anything is measured or drawn with them: the styles bring them.
function Screen() {
  const [lettered, setLettered] = useState(false);
  useEffect(() => {
    const letters = [400, 500].map((weight) => document.fonts.load(`${weight} 14px Inter`));
    Promise.all(letters).then((found) => {
      if (found.some((faces) => faces.length === 0)) throw new Error("Grafana's letters are missing");
      setLettered(true);
    });
  }, []);
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      {lettered && picture.panels.map((item) => <Panel key={item.panel.id} item={item} />)}
    </ThemeContext.Provider>
  );
}

async function draw() {
  await initPluginTranslations("grafana");
  const bottom = Math.max(...picture.panels.map(({ panel }) => panel.gridPos.y + panel.gridPos.h));
  const screen = document.getElementById("screen");
  screen.style.height = `${2 * PADDING + bottom * (ROW + GAP) - GAP}px`;
  createRoot(screen).render(<Screen />);
}

draw();
