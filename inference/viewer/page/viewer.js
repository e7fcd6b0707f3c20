// The page: NiiVue's canvas, the labels over the image, and runs of further prompts.

import { Marks } from "./marks.js";
import { by, press, say, showCase, showLabels, showMarks, showProgress, showWindows } from "./panel.js";

const { Niivue, NVImage, DRAG_MODE, SHOW_RENDER } = globalThis.niivue;
const VIEWS = { axial: 0, coronal: 1, sagittal: 2, planes: 3, render: 4 };
const MOUSE = {
  leftButton: { primary: DRAG_MODE.crosshair },
  rightButton: DRAG_MODE.windowing,
  centerButton: DRAG_MODE.pan,
};

const nv = new Niivue({
  isRadiologicalConvention: true,
  sagittalNoseLeft: true,
  isOrientationTextVisible: true,
  multiplanarShowRender: SHOW_RENDER.NEVER,
  multiplanarPadPixels: 4,
  dragAndDropEnabled: false,
  show3Dcrosshair: true,
  isCornerOrientationText: false,
  showAllOrientationMarkers: true,
  crosshairColor: [1, 1, 1, 0.6],
  crosshairWidth: 0.15,
  crosshairWidthUnit: "percent",
  crosshairGap: 6,
  backColor: [0, 0, 0, 1],
  fontColor: [1, 1, 0.6, 1],
  loadingText: "",
  logLevel: "error",
});
const hidden = new Set();
let state, marks, mode = "move", view = "planes";

async function fetchState() {
  const answer = await fetch("state");
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

async function fetchVolume(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.arrayBuffer();
}

// Index 0 is no label. What is hidden has no opacity.
function colours() {
  const table = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: [""] };
  for (const label of state.labels) {
    const [r, g, b] = [1, 3, 5].map((at) => parseInt(label.colour.slice(at, at + 2), 16));
    table.R.push(r);
    table.G.push(g);
    table.B.push(b);
    table.A.push(hidden.has(label.id) ? 0 : 255);
    table.I.push(label.id);
    table.labels.push(label.name);
  }
  return table;
}

// Every change of a volume uploads all of them again: once is enough for each thing that a user does.
function paint() {
  nv.volumes[1].setColormapLabel(colours());
  nv.updateGLVolume();
  list();
}

function list() {
  showLabels(state.labels, hidden, { onToggle: toggle, onJump: jump });
}

async function loadLabels() {
  const file = await fetchVolume(`labels.nii?v=${state.version}`);
  const image = await NVImage.new(file, "labels.nii", "gray", Number(by("opacity").value));
  if (nv.volumes.length > 1) nv.removeVolume(nv.volumes[1]);
  image.setColormapLabel(colours());
  nv.addVolume(image);
  list();
  marks.draw();
}

function toggle(id, shown) {
  if (shown) hidden.delete(id);
  else hidden.add(id);
  paint();
}

function jump(label) {
  const [d, h, w] = label.centre;
  nv.scene.crosshairPos = nv.vox2frac([w, h, d]);
  nv.drawScene();
  nv.createOnLocationChange();
}

function setWindow(low, high, name = null) {
  if (!(high > low)) return;
  nv.volumes[0].cal_min = low;
  nv.volumes[0].cal_max = high;
  nv.updateGLVolume();
  showEnds();
  press("windows", "window", name);
}

function showEnds() {
  by("low").value = Math.round(nv.volumes[0].cal_min);
  by("high").value = Math.round(nv.volumes[0].cal_max);
}

function setView(name) {
  view = name;
  nv.setSliceType(VIEWS[name]);
  by("with-image").hidden = name !== "render";
  const opacity = name !== "render" || by("image3d").checked ? 1 : 0;
  if (nv.volumes[0].opacity !== opacity) nv.setOpacity(0, opacity);
  press("views", "view", name);
}

function setMode(name) {
  mode = name;
  nv.setMouseEventConfig(name === "box" ? { ...MOUSE, leftButton: { primary: DRAG_MODE.callbackOnly } } : MOUSE);
}

function here() {
  return Array.from(nv.frac2vox(nv.scene.crosshairPos));
}

// The voxel as the file counts it, (D, H, W): the page turns the file's axes.
function inFile(voxel) {
  const page = [...voxel].reverse(), file = [];
  const { order, reversed } = state.fromFile;
  order.forEach((axis, at) => {
    file[axis] = reversed.includes(at) ? state.shape[at] - 1 - page[at] : page[at];
  });
  return file;
}

function showPlace(data) {
  const value = data.values[0]?.value;
  const label = state.labels.find((one) => one.id === data.values[1]?.value);
  const parts = [`voxel (D, H, W) ${inFile(here()).join(", ")}`, `value ${Math.round(value)}`];
  if (label) parts.push(label.name);
  by("where").textContent = parts.join("   ");
}

async function run(event) {
  event.preventDefault();
  showProgress({ stage: "begin", planned: 0 });
  const body = JSON.stringify({ text: by("text").value, ...marks.wanted() });
  try {
    const answer = await fetch("run", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    if (!answer.ok) throw new Error((await answer.json()).error);
  } catch (error) {
    showProgress(null);
    say(error.message, true);
  }
}

async function onEvent(event) {
  if (event.kind === "progress") return showProgress(event);
  showProgress(null);
  if (event.kind === "error") return say(event.error, true);
  await refresh();
  const added = state.labels.filter((label) => event.added.includes(label.id));
  const found = added.find((label) => label.centre !== null);
  if (found) jump(found);
  say(added.map((label) => `${label.name}: ${label.note || "found"}`).join("; "));
  if (found) marks.clear();
}

async function refresh() {
  document.body.dataset.state = "loading";
  state = await fetchState();
  await loadLabels();
  ready();
}

// What came while nobody listened: before the first connection, or between two.
async function catchUp() {
  const now = await fetchState();
  showProgress(now.run);
  if (now.version !== state.version) await refresh();
}

function ready() {
  document.body.dataset.version = state.version;
  document.body.dataset.state = "ready";
}

function listen() {
  const source = new EventSource("events");
  source.onopen = () => catchUp().catch(fail);
  source.onmessage = (message) => onEvent(JSON.parse(message.data)).catch(fail);
  source.onerror = () => say("Vesal has ended; this page shows what it had.", true);
}

function fail(error) {
  document.body.dataset.state = "failed";
  say(`The page failed: ${error.message}`, true);
}

function bind() {
  by("run").addEventListener("submit", run);
  by("opacity").addEventListener("input", () => nv.setOpacity(1, Number(by("opacity").value)));
  by("all").addEventListener("click", () => {
    const any = state.labels.some((label) => !hidden.has(label.id));
    for (const label of state.labels) any ? hidden.add(label.id) : hidden.delete(label.id);
    paint();
  });
  by("views").addEventListener("click", (event) => event.target.dataset.view && setView(event.target.dataset.view));
  by("image3d").addEventListener("change", () => setView(view));
  by("marks").addEventListener("change", (event) => setMode(event.target.value));
  by("clear").addEventListener("click", () => marks.clear());
  for (const id of ["low", "high"]) {
    by(id).addEventListener("change", () => setWindow(Number(by("low").value), Number(by("high").value)));
  }
  by("canvas").addEventListener("click", (event) => {
    if (view === "render" || (mode !== "inside" && mode !== "outside")) return;
    const frac = nv.canvasPos2frac([event.offsetX * nv.uiData.dpr, event.offsetY * nv.uiData.dpr]);
    if (frac[0] < 0) return say("That is outside of the image.", true);
    marks.addPoint(nv.frac2vox(frac), mode === "inside");
  });
  nv.onDragRelease = (drag) => {
    if (mode !== "box") return;
    if (drag.fracStart[0] < 0 || drag.fracEnd[0] < 0) return say("Draw the box within the image.", true);
    marks.drag(drag.voxStart, drag.voxEnd, drag.axCorSag);
  };
  nv.onLocationChange = showPlace;
  nv.onIntensityChange = showEnds;
}

async function begin() {
  state = await fetchState();
  showCase(state);
  const lacks = showMarks(state.can, state.weights);
  nv.opts.isOrientationTextVisible = state.sidesKnown;
  await nv.attachToCanvas(by("canvas"));
  marks = new Marks(nv, state.shape, state.spacing, () => {
    by("marked").textContent = marks.told() || lacks;
    by("clear").hidden = !marks.any;
  });
  by("marked").textContent = lacks;
  const [first] = state.windows;
  showWindows(state.windows, state.unit, (one) => setWindow(one.low, one.high, one.name));
  const image = await NVImage.new(await fetchVolume("image.nii"), "image.nii", "gray", 1);
  [image.cal_min, image.cal_max] = [first.low, first.high];
  nv.addVolume(image);
  showEnds();
  press("windows", "window", first.name);
  await loadLabels();
  bind();
  setMode("move");
  setView("planes");
  const largest = state.labels.reduce((a, b) => (a && a.voxels >= b.voxels ? a : b), null);
  if (largest?.centre) jump(largest);
  globalThis.viewer = { nv, marks, state: () => state };
  listen();
  ready();
}

begin().catch(fail);
