// Looks at every painted state of a cell's output area: when the last word was first there, and whether
// LaTeX that is not typeset could be read. What no frame shows does not count.
([path, index, lastWord]) => {
  const area = window.puqHarness.cellNode(path, index);
  const raw = /\\(frac|sum|omega|sqrt|gamma)|\$[A-Za-z\\$]/;
  const seen = { states: 0, raw: 0, finished: null };
  let due = false;
  const look = () => {
    due = false;
    const text = [...area.querySelectorAll(".jp-OutputArea-output")].map((node) => node.textContent).join("");
    seen.states += 1;
    if (raw.test(text)) seen.raw += 1;
    if (seen.finished === null && text.includes(lastWord)) seen.finished = performance.now();
  };
  const observer = new MutationObserver(() => {
    if (due) return;
    due = true;
    requestAnimationFrame(look);
  });
  observer.observe(area, { subtree: true, childList: true, characterData: true });
  window.benchWatch = { seen, stop: () => observer.disconnect() };
}
