// The panel beside the canvas: it shows the state and says what the user wants.

export const by = (id) => document.getElementById(id);

export function make(tag, fields = {}, ...children) {
  const element = Object.assign(document.createElement(tag), fields);
  element.append(...children);
  return element;
}

export function showCase(state) {
  document.title = `${state.name} - Vesal`;
  by("name").textContent = state.name;
  const size = state.shape.join(" x "), mm = state.spacing.map((v) => v.toFixed(2)).join(" x ");
  by("about").textContent = `${state.modality}, ${size} voxels of ${mm} mm (D, H, W), weights ${state.weights}`;
  by("suggestions").replaceChildren(...state.suggestions.map((value) => make("option", { value })));
  const sides = state.sidesKnown ? [] : ["The file does not say which side is left: shown as it is stored."];
  by("notes").replaceChildren(...[...sides, ...state.notes].map((text) => make("li", { textContent: text })));
}

// What the weights cannot take is switched off, with the reason.
export function showMarks(can, weights) {
  const off = (values, takes) => {
    for (const input of document.querySelectorAll("#marks input")) {
      if (values.includes(input.value)) input.disabled = !takes;
    }
  };
  off(["inside", "outside"], can.points);
  off(["box"], can.boxes);
  const lacks = [!can.points && "points", !can.boxes && "boxes"].filter(Boolean).join(" and ");
  return lacks ? `The weights ${weights} take no ${lacks}.` : "";
}

export function showLabels(labels, hidden, { onToggle, onJump }) {
  const rows = labels.map((label) => {
    const shown = make("input", { type: "checkbox", checked: !hidden.has(label.id) });
    shown.setAttribute("aria-label", `show ${label.name}`);
    shown.addEventListener("change", () => onToggle(label.id, shown.checked));
    const colour = make("span", { className: "colour" });
    colour.style.background = label.colour;
    const jump = make("button", { type: "button", className: "jump", textContent: label.name });
    jump.title = label.text || "jump to it";
    jump.disabled = label.centre === null;
    jump.addEventListener("click", () => onJump(label));
    const ml = make("span", { className: "ml", textContent: amount(label) });
    const row = make("li", {}, shown, colour, jump, ml);
    row.dataset.label = label.id;
    if (label.note) row.append(make("span", { className: "note", textContent: label.note }));
    return row;
  });
  by("labels").replaceChildren(...(rows.length ? rows : [make("li", { textContent: "none yet" })]));
  by("all").textContent = labels.some((label) => !hidden.has(label.id)) ? "hide all" : "show all";
}

function amount(label) {
  if (!label.voxels) return "empty";
  if (label.ml >= 100) return `${label.ml.toFixed(0)} ml`;
  if (label.ml >= 0.1) return `${label.ml.toPrecision(3)} ml`;
  return `${label.voxels} voxels`;
}

export function showWindows(windows, unit, onWindow) {
  const buttons = windows.map((one) => {
    const button = make("button", { type: "button", textContent: one.name });
    button.dataset.window = one.name;
    if (one.width) button.title = `width ${one.width}, level ${one.level} HU`;
    button.addEventListener("click", () => onWindow(one));
    return button;
  });
  by("windows").replaceChildren(...buttons);
  by("unit").textContent = unit;
}

export function press(container, key, value) {
  for (const button of by(container).querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.dataset[key] === value));
  }
}

export function showProgress(event) {
  const bar = by("progress");
  bar.hidden = event === null;
  by("go").disabled = event !== null;
  if (event === null) return;
  if (event.planned) bar.value = event.windows / event.planned;
  else bar.removeAttribute("value");
  const stages = { begin: "begins", weights: "reading the weights" };
  const count = event.planned ? `: ${event.windows} of ${event.planned} windows, ${event.seconds.toFixed(1)} s` : "";
  say(`${stages[event.stage] ?? event.stage}${count}`);
}

export function say(text, isError = false) {
  by("said").textContent = text;
  by("said").classList.toggle("error", isError);
}
