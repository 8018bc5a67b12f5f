// A player of speech that is still arriving. The trait `audio` holds all that has come, as a file that may be cut;
// what is loaded is replaced by it only where playing catches up with it, so that a player that plays goes on.

const CLOSE_TO_END = 0.3; // seconds of what is loaded that are left when more is loaded

// WAV heads say how long the file will be, or that nobody knows; a player wants to know how long it is.
function withTrueLength(bytes) {
  const name = (at) => String.fromCharCode(...bytes.subarray(at, at + 4));
  if (name(0) !== "RIFF") return bytes;
  const wav = bytes.slice();
  const head = new DataView(wav.buffer);
  head.setUint32(4, wav.length - 8, true);
  for (let at = 12; at + 8 <= wav.length; ) {
    const size = head.getUint32(at + 4, true);
    if (name(at) === "data") head.setUint32(at + 4, wav.length - at - 8, true);
    if (name(at) === "data") break;
    at += 8 + size + (size % 2);
  }
  return wav;
}

// Calls `start` once the player is in the page, which it may never be if the whole audio comes at once. The ordinary
// player that takes its place goes on where it was; a player that leaves the page is paused.
function follow(el, player, state, start) {
  let begun = false;
  let area, index;
  const look = () => {
    if (el.isConnected) {
      if (!begun) start();
      begun = true;
      area = el.closest(".jp-OutputArea");
      index = area ? [...area.children].indexOf(el.closest(".jp-OutputArea-child")) : -1;
      return;
    }
    if (!begun) return;
    const next = area?.children[index]?.querySelector("audio");
    if (next || !area?.isConnected) observer.disconnect();
    if (!next || !state.started) return;
    next.dataset.puqStarted = "true"; // what starts a player of --autoplay leaves this one alone
    Object.assign(next, { currentTime: state.time, muted: player.muted, volume: player.volume });
    const resume = () => next.duration - state.time > 0.1 && next.play().catch(() => {});
    if (state.playing) next.addEventListener("loadedmetadata", resume, { once: true });
  };
  const observer = new MutationObserver(look);
  observer.observe(document.body, { childList: true, subtree: true });
  look();
  return () => begun || observer.disconnect();
}

function render({ model, el }) {
  const player = document.createElement("audio");
  const note = document.createElement("em");
  const state = { playing: model.get("autoplay"), started: false, time: 0 };
  let url = "";
  let loaded = 0;

  function load() {
    const { buffer, byteOffset, byteLength } = model.get("audio");
    if (byteLength === loaded) return;
    loaded = byteLength;
    const bytes = withTrueLength(new Uint8Array(buffer, byteOffset, byteLength));
    URL.revokeObjectURL(url);
    url = URL.createObjectURL(new Blob([bytes], { type: model.get("mime") }));
    player.src = url;
    player.currentTime = state.time;
    if (state.playing && el.isConnected) player.play().catch(refuse);
  }

  // A page may not play before somebody has clicked. That more is loaded, or that the player goes, ends a start, too.
  function refuse(error) {
    if (error.name === "NotAllowedError") state.playing = false;
  }

  player.className = "puq-live-player";
  player.controls = true;
  player.title = model.get("label");
  player.setAttribute("aria-label", player.title);
  player.setAttribute("data-lm-suppress-shortcuts", "true");
  player.style.cssText = "display: block; width: 100%; max-width: 540px; margin-bottom: 6px";
  note.textContent = "Receiving audio…";
  player.onplay = () => {
    state.playing = state.started = true;
    if (state.time === 0) load();
  };
  player.onpause = () => {
    if (el.isConnected && !player.ended) state.playing = false;
  };
  player.ontimeupdate = () => {
    if (el.isConnected && player.readyState > 0) state.time = player.currentTime;
    if (state.playing && player.duration - player.currentTime < CLOSE_TO_END) load();
  };
  player.onended = load;
  player.onerror = () => (note.textContent = "Receiving audio, which plays once it is whole…");
  model.on("change:audio", () => {
    if (el.isConnected && (!loaded || player.ended)) load();
  });
  el.append(player, note);
  const stop = follow(el, player, state, load);
  return () => {
    stop();
    URL.revokeObjectURL(url);
  };
}

export default { render };
