// The microphone of a Recorder: records, shows level and time, plays back, hands the bytes to Python.
// Python speaks through the trait `kernel_message`; this side answers with messages, which keep their order.

const BITS_PER_SECOND = 64_000;
const SPARE = 16_384; // bytes that may come after the recording was told to stop
const SILENCE = 0.0005; // the amplitude of a microphone that is muted
const FAILURES = {
  NotAllowedError: "The browser may not use the microphone. Allow it beside the page's address, then try again.",
  NotFoundError: "No microphone was found. Connect one, then try again.",
  NotReadableError: "The microphone cannot be used; another program may hold it. Close that, then try again.",
};
const ENDED = "The kernel of this recorder has ended. Run the cell again.";
const INSECURE = "There is no microphone on this page: browsers give theirs only to pages on https or localhost.";

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
// JupyterLab takes single keys for commands (dd deletes the cell), unless the very node with the focus says no.
const keepKeys = ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", "true");
const release = (stream) => stream.getTracks().forEach((track) => track.stop());

function filled(node, attributes, ...children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children); // strings become text
  return node;
}
const element = (tag, ...rest) => filled(document.createElement(tag), ...rest);

// One recording; it holds the microphone from its making to its end.
class Take {
  constructor(stream, max_seconds, max_bytes) {
    Object.assign(this, { stream, max_seconds, max_bytes, chunks: [], size: 0 });
    this.recorder = new MediaRecorder(stream, { audioBitsPerSecond: BITS_PER_SECOND });
    this.recorder.ondataavailable = ({ data }) => this.keep(data);
    // A microphone that is pulled out ends the recording too; what came until then is kept.
    this.ended = new Promise((resolve) => (this.recorder.onstop = resolve)).then(() => this.finish());
    this.audio = new AudioContext();
    this.analyser = new AnalyserNode(this.audio, { fftSize: 1024 });
    this.audio.createMediaStreamSource(stream).connect(this.analyser);
    this.wave = new Float32Array(this.analyser.fftSize);
    this.recorder.start(250);
    this.begun = performance.now();
  }

  get seconds() {
    return Math.min((performance.now() - this.begun) / 1000, this.max_seconds);
  }

  // The loudest amplitude of the last instant, 0 to 1.
  get level() {
    this.analyser.getFloatTimeDomainData(this.wave);
    return this.wave.reduce((loudest, value) => Math.max(loudest, Math.abs(value)), 0);
  }

  keep(data) {
    this.chunks.push(data);
    this.size += data.size;
    if (this.seconds >= this.max_seconds || this.size + SPARE > this.max_bytes) this.recorder.stop();
  }

  finish() {
    release(this.stream);
    this.audio.close();
    return new Blob(this.chunks, { type: this.recorder.mimeType });
  }
}

class View {
  constructor(model, el) {
    Object.assign(this, { model, el, take: null, blob: null, length: 0, gone: false });
    this.build();
    this.hear = () => this.take || this.show(model.get("kernel_message").state, model.get("kernel_message").words);
    model.on("change:kernel_message", this.hear);
    this.button.hidden = !navigator.mediaDevices;
    if (this.button.hidden) this.fail(INSECURE);
    else this.show("idle", "Ready to record.");
    if (model.get("kernel_message").state) this.hear(); // from before the page was loaded again
  }

  build() {
    this.button = element("button", { type: "button", class: "puq-recorder-button" });
    this.again = element("button", { type: "button", hidden: "" }, "Send again");
    this.bar = element("div", {});
    this.level = element("div", { class: "puq-recorder-level", "aria-hidden": "true", hidden: "" }, this.bar);
    this.time = element("span", { class: "puq-recorder-time", role: "timer", hidden: "" });
    this.words = element("span", { class: "puq-recorder-words", role: "status", "aria-live": "polite" });
    this.player = element("audio", { controls: "", hidden: "", "aria-label": "The recording" });
    this.button.onclick = () => this.press();
    this.again.onclick = () => this.button.focus() ?? this.send();
    this.player.onloadedmetadata = () => this.measure();
    this.el.classList.add("puq-recorder");
    const parts = [this.button, this.again, this.level, this.time, this.words, this.player];
    filled(this.el, { role: "group", "aria-label": "Voice recorder" }, ...parts);
    // The box, and the upload in it, are around this once it has come into the page.
    this.arrival = new ResizeObserver(() => this.el.parentElement?.addEventListener("focusin", keepKeys));
    this.arrival.observe(this.el);
  }

  show(state, words) {
    const label = { recording: "Stop", no_microphone: "Try again" }[state];
    this.el.dataset.state = state;
    this.button.textContent = label ?? (this.blob ? "Record again" : "Record");
    // Not `disabled`: that would drop the focus, and the next keys with it, into the notebook.
    this.button.setAttribute("aria-disabled", String(["asking", "recorded", "transcribing"].includes(state)));
    this.again.hidden = !(state === "failed" && this.blob);
    this.level.hidden = this.time.hidden = !this.take;
    if (this.words.textContent !== words) this.words.textContent = words;
  }

  tell(state, words) {
    this.show(state, words);
    this.post({ kind: "state", state, words });
  }

  post(content, buffers) {
    try {
      this.model.send(content, undefined, buffers);
    } catch {
      this.show("failed", ENDED);
    }
  }

  fail(words) {
    this.el.dataset.microphone = "none"; // brings the stand-in into sight: recorder.css
    this.tell("no_microphone", words);
  }

  async press() {
    if (this.button.getAttribute("aria-disabled") === "true") return;
    if (this.take) return this.take.recorder.stop();
    this.tell("asking", "Waiting for the microphone. The browser may ask for your permission.");
    if (this.el.dataset.state === "failed") return; // nobody to record for
    let stream = null;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      if (this.gone) return release(stream);
      this.take = new Take(stream, this.model.get("max_seconds"), this.model.get("max_bytes"));
    } catch (error) {
      if (stream) release(stream);
      return this.fail(FAILURES[error.name] ?? `The microphone cannot be used (${error.name}).`);
    }
    await this.record();
  }

  async record() {
    this.forget();
    delete this.el.dataset.microphone;
    this.tell("recording", "Recording.");
    this.draw(false);
    const blob = await this.take.ended;
    this.length = this.take.seconds;
    this.take = null;
    if (this.gone) return;
    if (!blob.size) return this.tell("failed", "Nothing was recorded.");
    this.blob = blob;
    this.player.src = URL.createObjectURL(blob);
    this.player.hidden = false;
    await this.send();
  }

  draw(heard, peak = 0) {
    if (!this.take) return;
    const { level, seconds } = this.take;
    const time = `${clock(seconds)}, ${clock(this.take.max_seconds - seconds)} left`;
    if (this.time.textContent !== time) this.time.textContent = time;
    peak = Math.max(level, 0.9 * peak); // so that it falls slower than it rises
    const shown = 1 + Math.log10(peak + 1e-6) / 3; // 60 decibels
    this.bar.style.transform = `scaleX(${Math.min(1, Math.max(0, shown)).toFixed(3)})`;
    heard ||= level > SILENCE;
    const words = heard || seconds < 3 ? "Recording." : "Recording, but nothing is heard. Is the microphone muted?";
    if (this.words.textContent !== words) this.words.textContent = words;
    requestAnimationFrame(() => this.draw(heard, peak));
  }

  async send() {
    const bytes = await this.blob.arrayBuffer();
    this.tell("recorded", `Recorded ${clock(this.length)}. It is transcribed as soon as the kernel is free.`);
    this.post({ kind: "recording", mime: this.blob.type }, [bytes]);
  }

  // MediaRecorder writes no length into its file; a player finds it when it has been at the end.
  measure() {
    if (this.player.duration !== Infinity) return;
    this.player.addEventListener("durationchange", () => (this.player.currentTime = 0), { once: true });
    this.player.currentTime = Number.MAX_SAFE_INTEGER;
  }

  forget() {
    URL.revokeObjectURL(this.player.src);
    this.player.removeAttribute("src");
    this.player.hidden = true;
    this.blob = null;
  }

  close() {
    this.gone = true;
    this.take?.recorder.stop();
    this.arrival.disconnect();
    this.model.off("change:kernel_message", this.hear);
    if (["asking", "recording"].includes(this.el.dataset.state)) this.tell("idle", "The recorder was closed.");
    this.forget();
  }
}

export default {
  render({ model, el }) {
    const view = new View(model, el);
    return () => view.close();
  },
};
