// What lab.py asks of the page. It works on the application's own objects (`window.jupyterapp`), with
// the commands that the menus have, so that no key press can be lost.
window.puqHarness = (() => {
  const jobs = new Map();
  let lastJob = 0;
  let recorder = null;

  const main = () => [...(window.jupyterapp?.shell?.widgets("main") ?? [])];
  const panel = (path) => main().find((w) => w.context?.path === path && w.content?.widgets);
  const cells = (path) => panel(path).content.widgets;
  const frame = () => new Promise(requestAnimationFrame);

  function ready(path) {
    const found = panel(path);
    if (!found?.context.isReady || !found.sessionContext.isReady) return false;
    return found.content.widgets.length > 0 && found.sessionContext.session?.kernel?.status === "idle";
  }

  function prompt(path, index) {
    return cells(path)[index].node.querySelector(".jp-InputPrompt")?.textContent?.trim() ?? "";
  }

  function idle(path) {
    const failed = [...jobs.values()].find((job) => job.state === "failed");
    if (failed) throw new Error(failed.value);
    if ([...jobs.values()].some((job) => job.state === "running")) return false;
    if (panel(path).sessionContext.session?.kernel?.status !== "idle") return false;
    return cells(path).every(
      (cell, index) => (cell.model.executionState ?? "idle") === "idle" && prompt(path, index) !== "[*]:"
    );
  }

  // Promises run as jobs: Python can then wait for them with a time limit.
  function start(name, ...args) {
    const id = ++lastJob;
    const job = { state: "running", value: null };
    jobs.set(id, job);
    Promise.resolve(actions[name](...args)).then(
      (value) => Object.assign(job, { state: "done", value }),
      (error) => Object.assign(job, { state: "failed", value: String(error?.stack ?? error) })
    );
    return id;
  }

  function finish(id) {
    const job = jobs.get(id);
    if (job.state === "running") return null;
    jobs.delete(id);
    return job;
  }

  async function command(path, name) {
    window.jupyterapp.shell.activateById(panel(path).id);
    await window.jupyterapp.commands.execute(name);
  }

  const actions = {
    runAll: (path) => command(path, "notebook:run-all-cells"),
    runCell: (path, index) => {
      panel(path).content.deselectAll();
      panel(path).content.activeCellIndex = index;
      return command(path, "notebook:run-cell");
    },
    interrupt: (path) => command(path, "notebook:interrupt-kernel"),
    save: (path) => panel(path).context.save(),
    settle,
  };

  function setSource(path, index, source) {
    cells(path)[index].model.sharedModel.setSource(source);
  }

  function addCell(path, source, kind) {
    const model = panel(path).content.model.sharedModel;
    const index = model.cells.length;
    model.insertCell(index, { cell_type: kind, source, metadata: kind === "code" ? { trusted: true } : {} });
    return index;
  }

  function outputs(path, index) {
    const area = cells(path)[index].outputArea;
    return (area?.widgets ?? []).map((widget, position) => {
      const node = widget.node.querySelector(".jp-OutputArea-output") ?? widget.node;
      const model = area.model.get(position);
      return {
        kind: model?.type ?? "",
        mimes: Object.keys(model?.data ?? {}),
        text: node.textContent,
        html: node.innerHTML,
      };
    });
  }

  // A front end renders some time after the kernel has gone idle: wait until nothing has changed in the
  // notebook for ten frames. An output still without content (its renderer is being loaded) has longer.
  async function settle(path) {
    const root = panel(path).content.node;
    let quiet = 0;
    const observer = new MutationObserver(() => (quiet = 0));
    observer.observe(root, { subtree: true, childList: true, characterData: true, attributes: true });
    try {
      while (quiet < (hollow(root) ? 120 : 10)) {
        await frame();
        quiet += 1;
      }
    } finally {
      observer.disconnect();
    }
  }

  function hollow(root) {
    return [...root.querySelectorAll(".jp-OutputArea-output")].some((node) => !node.hasChildNodes());
  }

  // A line that says how long nothing came is none of the text: it goes when there is more.
  const WAIT = /(Waiting … \d+ s|… \d+ s without a word)\s*$/;

  // Every painted state of one output area that differs from the one before. Mutations that no frame
  // shows are no states: who looks at the page never sees them.
  function record(path, index) {
    stopRecording();
    const cell = cells(path)[index];
    const area = cell.outputArea;
    const scroller = panel(path).content.outerNode ?? panel(path).content.node;
    const samples = [];
    let due = false;
    const take = () => {
      const sample = {
        t: performance.now(),
        text: area.node.textContent.replace(WAIT, "").length,
        height: area.node.scrollHeight,
        outputs: area.widgets.length,
        scroll: scroller.scrollTop,
        top: cell.node.getBoundingClientRect().top - scroller.getBoundingClientRect().top,
      };
      const last = samples.at(-1);
      if (!last || Object.keys(sample).some((key) => key !== "t" && sample[key] !== last[key])) {
        samples.push(sample);
      }
    };
    const soon = () => {
      if (due) return;
      due = true;
      requestAnimationFrame(() => {
        due = false;
        take();
      });
    };
    const mutations = new MutationObserver(soon);
    mutations.observe(area.node, { subtree: true, childList: true, characterData: true, attributes: true });
    const sizes = new ResizeObserver(take); // called between layout and paint: nothing slips through
    sizes.observe(area.node);
    scroller.addEventListener("scroll", soon);
    take();
    recorder = {
      samples,
      stop() {
        take();
        mutations.disconnect();
        sizes.disconnect();
        scroller.removeEventListener("scroll", soon);
      },
    };
  }

  function stopRecording() {
    const stopped = recorder;
    recorder = null;
    stopped?.stop();
    return stopped?.samples ?? [];
  }

  function scrollToEnd(path) {
    const scroller = panel(path).content.outerNode ?? panel(path).content.node;
    scroller.scrollTop = scroller.scrollHeight;
    return scroller.scrollTop;
  }

  return {
    ready, idle, prompt, start, finish, setSource, addCell, outputs, record, stopRecording, scrollToEnd,
    cellNode: (path, index) => cells(path)[index].node,
    count: (path) => cells(path).length,
    trusted: (path, index) => cells(path)[index].model.trusted,
  };
})();
