// The model chooser. Searching, filtering and moving happen here alone; the kernel hears of a choice only.
// What the models' names and descriptions say is a stranger's: it becomes text nodes, never markup.

const ROW = 28; // pixels; chooser.css takes it from here
const SEEN = 10; // rows seen at once, unless there are fewer or someone makes it higher
const SPARE = 6; // rows drawn beyond either edge of what is seen
const [CODE, NAME, PROVIDER, KIND, INPUT, OUTPUT, DESCRIPTION] = [0, 1, 2, 3, 4, 5, 6];
const COLUMNS = ["code", "name", "provider", "kind", "input", "output"];
// JupyterLab's shortcuts (`dd` deletes the cell) pass over an element that has this, but not over what is in it:
// each element that can have the focus needs its own.
const OWN_KEYS = { "data-lm-suppress-shortcuts": "true" };
const UNKNOWN = "–"; // a price
let made = 0;

function element(tag, className, attributes = {}, ...children) {
  const node = document.createElement(tag);
  node.className = className && `puq-chooser-${className}`;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children); // strings become text
  return node;
}

// Exact names first, then what begins so, then what has it in its code.
function rank(code, query) {
  const lower = code.toLowerCase();
  const name = lower.slice(lower.indexOf("/") + 1);
  if (lower === query || name === query) return 0;
  if (lower.startsWith(query) || name.startsWith(query)) return 1;
  return lower.includes(query) ? 2 : 3;
}

// Prices by their size, all else as words; what is not known stays last.
function compare(a, b, down) {
  const [x, y] = [a, b].map((text) => Number(text.replaceAll(",", "")));
  if (a === b) return 0;
  if (a === UNKNOWN || b === UNKNOWN) return a === UNKNOWN ? 1 : -1;
  const order = Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
  return down ? -order : order;
}

class Chooser {
  constructor(model) {
    this.model = model;
    this.id = `puq-chooser-${Date.now().toString(36)}-${++made}`;
    this.rows = model.get("_rows");
    this.haystacks = this.rows.map((row) => row.slice(CODE, INPUT).join(" ").toLowerCase());
    this.shown = []; // positions in rows
    this.active = -1; // position in shown
    this.sorting = { column: -1, down: false }; // -1: the order of the list
    this.build();
    this.makeKinds();
    this.showKind();
    this.showChoice();
    this.listen();
  }

  // The page ------------------------------------------------------------------------------------------------

  build() {
    const listId = `${this.id}-list`;
    this.search = element("input", "search", {
      type: "text", role: "combobox", placeholder: "Search models", "aria-label": "Search models",
      "aria-expanded": "true", "aria-haspopup": "listbox", "aria-autocomplete": "list", "aria-controls": listId,
      autocomplete: "off", autocapitalize: "none", spellcheck: "false", ...OWN_KEYS,
    });
    this.search.value = this.model.get("_search");
    this.providers = element("select", "providers", { "aria-label": "Provider", ...OWN_KEYS });
    this.kinds = element("div", "kinds", { role: "group", "aria-label": "Kind" });
    this.list = element("div", "list", { role: "listbox", id: listId, "aria-label": "Models" });
    this.heads = COLUMNS.map((name) => element("button", `col-${name}`, { type: "button", ...OWN_KEYS }));
    this.heads.forEach((head, column) => head.addEventListener("click", () => this.sortBy(column)));
    this.showSorting();
    const head = element("div", "head", { role: "group", "aria-label": "Sort" }, element("span"), ...this.heads);
    this.scroller = element("div", "scroller", { tabindex: "-1", ...OWN_KEYS }, head, this.list);
    this.count = element("span", "count", { role: "status", "aria-live": "polite" });
    const unit = this.model.get("_unit");
    const foot = element("div", "foot", {}, this.count,
      element("span", "unit", {}, unit ? `Prices in ${unit}` : ""));
    this.choice = element("div", "choice", { "aria-live": "polite" });
    const bar = element("div", "bar", {}, this.search, this.kinds, this.providers);
    this.root = element("div", "", { role: "group", "aria-label": "Model chooser", tabindex: "-1", ...OWN_KEYS },
      bar, this.scroller, foot, this.choice);
    this.root.className = "puq-chooser";
    this.root.style.setProperty("--puq-chooser-row", `${ROW}px`);
    this.root.style.setProperty("--puq-chooser-rows", Math.min(SEEN, this.rows.length));
  }

  listen() {
    this.search.addEventListener("input", () => this.filter());
    this.search.addEventListener("keydown", (event) => this.press(event));
    this.providers.addEventListener("change", () => this.filter());
    this.scroller.addEventListener("scroll", () => this.draw(), { passive: true });
    // The search field keeps the focus, so that the arrows go on from the row that was clicked.
    this.scroller.addEventListener("mousedown", (event) => {
      if (!this.list.contains(event.target)) return; // a scroll bar
      event.preventDefault();
      this.search.focus({ preventScroll: true });
    });
    this.list.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) this.choose(Number(option.dataset.position));
    });
    this.model.on("change:value", () => this.showChoice());
    this.model.on("change:_line", () => this.showChoice());
    this.model.on("change:kind", () => this.showKind());
    let placed = false; // it has no size until it is put into the page
    this.resizes = new ResizeObserver(() => {
      if (placed) this.draw();
      else this.move(this.active);
      placed ||= this.scroller.clientHeight > 0;
    });
    this.resizes.observe(this.scroller);
  }

  makeKinds() {
    const known = [...new Set(this.rows.map((row) => row[KIND]))].filter(Boolean).sort();
    for (const kind of ["", ...known]) {
      const button = element("button", "kind", { type: "button", "data-kind": kind, ...OWN_KEYS }, kind || "all");
      button.addEventListener("click", () => {
        this.model.set("kind", kind);
        this.model.save_changes();
      });
      this.kinds.append(button);
    }
  }

  showKind() {
    const kind = this.model.get("kind");
    for (const button of this.kinds.children) {
      button.setAttribute("aria-pressed", String(button.dataset.kind === kind));
    }
    const counts = new Map();
    for (const row of this.rows) {
      if (row[PROVIDER] && (!kind || row[KIND] === kind)) {
        counts.set(row[PROVIDER], (counts.get(row[PROVIDER]) ?? 0) + 1);
      }
    }
    const before = this.providers.value;
    const names = [...counts.keys()].sort((a, b) => a.localeCompare(b));
    this.providers.replaceChildren(element("option", "", { value: "" }, "all providers"),
      ...names.map((name) => element("option", "", { value: name }, `${name} (${counts.get(name)})`)));
    this.providers.value = counts.has(before) ? before : "";
    this.filter();
  }

  // The list ------------------------------------------------------------------------------------------------

  filter() {
    const query = this.search.value.toLowerCase().trim();
    const words = query.split(/\s+/);
    const [kind, provider] = [this.model.get("kind"), this.providers.value];
    this.shown = [...this.rows.keys()].filter((position) => {
      const row = this.rows[position];
      return (!kind || row[KIND] === kind) && (!provider || row[PROVIDER] === provider)
        && words.every((word) => this.haystacks[position].includes(word));
    });
    const { column, down } = this.sorting;
    if (column >= 0) {
      this.shown.sort((a, b) => compare(this.rows[a][column], this.rows[b][column], down));
    } else if (query) {
      const ranks = new Map(this.shown.map((position) => [position, rank(this.rows[position][CODE], query)]));
      this.shown.sort((a, b) => ranks.get(a) - ranks.get(b));
    }
    const [found, all] = [this.shown.length, this.rows.length].map((n) => n.toLocaleString("en"));
    this.count.textContent = this.shown.length ? `${found} of ${all} models` : `No model of ${all} matches`;
    this.list.style.height = `${this.shown.length * ROW}px`;
    this.scroller.scrollTop = 0;
    // Enter takes the best match of what was typed, but never a model that nobody asked for.
    const chosen = this.shown.findIndex((position) => this.rows[position][CODE] === this.model.get("value"));
    this.move(query && this.shown.length ? 0 : chosen);
  }

  // Upwards, downwards, and back to the order of the list.
  sortBy(column) {
    const again = this.sorting.column === column;
    this.sorting = again && this.sorting.down ? { column: -1, down: false } : { column, down: again };
    this.showSorting();
    this.filter();
  }

  showSorting() {
    const { column, down } = this.sorting;
    this.heads.forEach((head, place) => {
      const order = place !== column ? "" : down ? "descending" : "ascending";
      head.textContent = `${COLUMNS[place]}${{ ascending: " ▲", descending: " ▼" }[order] ?? ""}`;
      head.setAttribute("aria-label", `Sort by ${COLUMNS[place]}${order && `, now ${order}`}`);
      head.title = `Sort by ${COLUMNS[place]}`;
    });
  }

  draw() {
    const { scrollTop, clientHeight } = this.scroller;
    const first = Math.max(0, Math.floor(scrollTop / ROW) - SPARE);
    const last = Math.min(this.shown.length, Math.ceil((scrollTop + clientHeight) / ROW) + SPARE);
    const options = [];
    for (let index = first; index < last; index += 1) options.push(this.option(index));
    this.list.replaceChildren(...options);
    const active = options[this.active - first];
    if (active) this.search.setAttribute("aria-activedescendant", active.id);
    else this.search.removeAttribute("aria-activedescendant");
  }

  option(index) {
    const row = this.rows[this.shown[index]];
    const chosen = row[CODE] === this.model.get("value");
    const unit = this.model.get("_unit");
    const label = [...row.slice(CODE, INPUT), `input ${row[INPUT]}`, `output ${row[OUTPUT]} ${unit}`];
    const option = element("div", "row", {
      role: "option", id: `${this.id}-${index}`, "aria-selected": String(chosen),
      "aria-posinset": index + 1, "aria-setsize": this.shown.length, "aria-label": label.filter(Boolean).join(", "),
      title: [row[CODE], row[NAME], row[DESCRIPTION]].filter(Boolean).join("\n"),
    }, element("span", "mark", {}, chosen ? "✓" : ""),
    ...COLUMNS.map((name, column) => element("span", `col-${name}`, {}, row[column])));
    option.dataset.position = index;
    option.style.top = `${index * ROW}px`;
    option.classList.toggle("puq-chooser-active", index === this.active);
    return option;
  }

  // Make a row the active one and bring it into sight; -1 for none.
  move(index) {
    this.active = Math.max(-1, Math.min(index, this.shown.length - 1));
    if (this.active >= 0) {
      const [top, room] = [this.active * ROW, this.scroller.clientHeight - this.list.offsetTop];
      const { scrollTop } = this.scroller;
      this.scroller.scrollTop = Math.max(Math.min(scrollTop, top), top + ROW - Math.max(room, ROW));
    }
    this.draw();
  }

  press(event) {
    if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / ROW) - 2);
    const start = Math.max(this.active, 0);
    const keys = {
      ArrowDown: () => this.move(this.active + 1),
      ArrowUp: () => this.move(start - 1 < 0 ? 0 : start - 1),
      PageDown: () => this.move(start + page),
      PageUp: () => this.move(Math.max(0, start - page)),
      Home: () => this.move(0),
      End: () => this.move(this.shown.length - 1),
      Enter: () => this.choose(this.active),
      Escape: () => this.clear(),
    };
    if (!Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  }

  clear() {
    this.search.value = "";
    this.providers.value = "";
    this.filter();
  }

  // The choice ----------------------------------------------------------------------------------------------

  choose(index) {
    if (!(index in this.shown)) return;
    this.active = index;
    this.model.set("value", this.rows[this.shown[index]][CODE]);
    this.model.save_changes();
    this.draw();
  }

  showChoice() {
    const value = this.model.get("value");
    const [code, words] = this.model.get("_line"); // comes a moment after the choice
    const line = code === value ? words : "";
    const listed = this.rows.some((row) => row[CODE] === value);
    const parts = [element("span", value ? "chosen" : "none", {}, value ? `✓ ${value}` : "No model chosen yet.")];
    if (value && !listed) parts.push(element("span", "none", {}, "(not in the list)"));
    if (listed && line) {
      const text = element("code", "line", {}, line);
      const copy = element("button", "copy", { type: "button", title: "Copy the line", ...OWN_KEYS }, "Copy");
      copy.addEventListener("click", () => this.copy(text, copy));
      parts.push(text, copy);
    }
    this.choice.replaceChildren(...parts);
    this.draw();
  }

  async copy(text, button) {
    getSelection().selectAllChildren(text); // for the old command, and to be copied by hand if both fail
    let done = true;
    try {
      await navigator.clipboard.writeText(text.textContent); // there only over https, and on this machine
    } catch {
      done = document.execCommand("copy");
    }
    button.textContent = done ? "Copied" : "Press Ctrl+C";
  }
}

export default {
  render({ model, el }) {
    const chooser = new Chooser(model);
    el.classList.add("puq-chooser-view");
    el.append(chooser.root);
    return () => chooser.resizes.disconnect();
  },
};
