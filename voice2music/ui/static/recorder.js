// Step 1: the record button, the guide beat, the example hums, a file, or no voice at all.
(() => {
  const { el, icon, clock, fill } = v2m;
  const STORED_LATENCY = "voice2music.latency";
  const PICKUP_BEATS = 1; // beats before bar one that are kept, for tunes that begin early

  class Recorder {
    constructor(element, trigger, props, upload) {
      Object.assign(this, { element, trigger, props, upload });
      this.state = "idle";
      this.guide = { on: false, tempo: 100, beats: 4 };
      this.taps = [];
      this.latency = Number(localStorage.getItem(STORED_LATENCY)) || null;
      this.backing = null;
      this.draw();
    }

    get words() {
      return this.props.words;
    }

    // ---- picture -----------------------------------------------------------------------------

    draw() {
      const busy = this.state !== "idle";
      const box = this.element.querySelector(".v-sing");
      box.classList.toggle("v-compact", this.hasVoice && !busy);
      const parts = () => [
        this.drawButton(),
        this.drawGuide(busy),
        ...(busy ? [] : [this.drawOthers()]),
      ];
      v2m.redraw(box, () => box.replaceChildren(...parts()), () => this.big);
    }

    get hasVoice() {
      return Boolean(this.props.value && this.props.value.has_voice);
    }

    drawButton() {
      const recording = ["countin", "recording"].includes(this.state);
      this.big = el(
        "button.v-record",
        {
          type: "button", "data-state": this.state,
          "aria-label": recording ? this.words.record_stop : this.words.record_start,
          onclick: () => (recording ? this.stop() : this.start()),
          disabled: this.state === "opening" || this.state === "sending",
        },
        el("span.v-ring"),
        icon(recording ? "stop" : "mic"),
      );
      this.count = el("span.v-count", { "aria-hidden": "true" });
      this.big.append(this.count);
      this.line = el("p.v-record-line", { role: "status", "aria-live": "polite" });
      this.hint = el("p.v-hint");
      const lines = {
        idle: [this.hasVoice ? this.words.record_again : this.words.record_idle,
          this.hasVoice ? "" : this.words.record_hint],
        opening: [this.words.record_opening, ""],
        countin: [this.words.record_countin, ""],
        recording: [this.words.record_recording, this.words.record_recording_hint],
        sending: [this.words.record_sending, ""],
      };
      [this.line.textContent, this.hint.textContent] = lines[this.state];
      return el("div.v-record-row", {}, this.big, el("div", {}, this.line, this.hint));
    }

    drawGuide(busy) {
      const { words, guide } = this;
      if (this.backing) return this.drawBacking(busy);
      const toggle = el("input", {
        type: "checkbox", role: "switch", checked: guide.on, disabled: busy,
        onchange: () => {
          guide.on = toggle.checked;
          this.draw();
        },
      });
      const row = el("label.v-switch", {}, toggle, el("span.v-knob"), el("span", {}, words.guide_switch));
      if (!guide.on) return el("div.v-guide", {}, row);
      return el("div.v-guide.v-on", {}, row, this.drawTempo(busy), this.drawLatency(busy));
    }

    drawTempo(busy) {
      const { words, guide } = this;
      const number = el("input.v-number", {
        type: "number", min: 40, max: 240, step: 1, value: guide.tempo, disabled: busy,
        "aria-label": words.guide_tempo,
        onchange: () => {
          guide.tempo = Math.min(240, Math.max(40, Math.round(Number(number.value)) || 100));
          number.value = guide.tempo;
        },
      });
      const tap = el("button.v-quiet", {
        type: "button", disabled: busy,
        onpointerdown: () => {
          this.taps.push(performance.now());
          const tempo = v2m.tappedTempo(this.taps);
          if (tempo) number.value = guide.tempo = tempo;
        },
        onkeydown: (event) => {
          if (event.key === " " || event.key === "Enter") tap.onpointerdown();
        },
      }, words.guide_tap);
      const bars = el("select.v-select", {
        "aria-label": words.guide_bar, disabled: busy,
        onchange: () => (guide.beats = Number(bars.value)),
      });
      for (const beats of [2, 3, 4, 5, 6, 7])
        bars.append(el("option", { value: beats, selected: beats === guide.beats },
          fill(words.guide_beats, { n: beats })));
      return el("div.v-tempo", {}, el("label", {}, number, el("span", {}, words.bpm)), tap, bars);
    }

    drawLatency(busy) {
      const { words } = this;
      const ms = Math.round((this.latency ?? v2m.ASSUMED_LATENCY) * 1000);
      const text = this.latency === null ? words.latency_assumed : words.latency_measured;
      this.latencyLine = el("span", { role: "status" }, fill(text, { ms }));
      const button = el("button.v-link", {
        type: "button", disabled: busy, onclick: () => this.measure(),
      }, words.latency_measure);
      return el("p.v-hint.v-latency", {}, this.latencyLine, " ", button,
        el("span.v-headphones", {}, words.guide_headphones));
    }

    drawBacking(busy) {
      const drop = el("button.v-link", {
        type: "button", disabled: busy,
        onclick: () => { this.backing = null; this.draw(); },
      }, this.words.backing_drop);
      return el("p.v-hint.v-backing", {},
        fill(this.words.backing_title, { title: this.backing.title }), " ", drop);
    }

    drawOthers() {
      const { words, props } = this;
      const examples = props.examples.map((example) =>
        el("button.v-chip", {
          type: "button", "data-example": example.name,
          onclick: () => this.send("example", { name: example.name }),
        }, icon("note"), words[`example_${example.name}`] || example.name));
      const picker = el("input", {
        type: "file", accept: "audio/*,video/mp4,video/webm,.m4a,.flac,.opus", hidden: true,
        tabindex: "-1", "aria-hidden": "true",
        onchange: () => picker.files.length && this.sendFile(picker.files[0], null),
      });
      const file = el("button.v-chip.v-plain", {
        type: "button", onclick: () => picker.click(),
      }, icon("file"), words.voice_file);
      const none = el("button.v-chip.v-plain", {
        type: "button", "data-words": true, onclick: () => this.send("wordless", {}),
      }, icon("words"), words.voice_none);
      const chips = [
        el("div.v-chips", {}, ...examples),
        el("div.v-chips", {}, file, none, picker),
      ];
      if (this.hasVoice)
        return el("details.v-others", {}, el("summary", {}, words.voice_other), ...chips);
      return el("div.v-others", {}, el("p.v-or", {}, words.voice_examples), ...chips);
    }

    // ---- recording ---------------------------------------------------------------------------

    async start() {
      v2m.hush();
      this.become("opening");
      try {
        this.tape = await v2m.Tape.open((block) => this.meter(block));
        await this.tape.ready;
        const backing = this.backing && (await this.decoded(this.backing.url));
        this.from = this.tape.context.currentTime;
        this.firstDownbeat = null;
        if (backing) this.playBacking(backing);
        else if (this.guide.on) this.countIn();
        else this.listen();
      } catch (error) {
        if (this.tape) this.tape.close();
        this.become("idle");
        this.fail(this.words[`mic_${error.name}`] || this.words.mic_other);
        console.info("microphone:", error.name, error.message);
      }
    }

    listen() {
      this.become("recording");
      this.since = performance.now();
      this.ticking = setInterval(() => this.tick(), 200);
    }

    countIn() {
      const { tempo, beats } = this.guide;
      this.become("countin");
      const start = this.tape.context.currentTime + 0.25;
      this.metronome = new v2m.Metronome(this.tape.context, tempo, beats, start, (beat, inBar) => {
        if (beat === 0) this.listen();
        this.count.textContent = beat < 0 ? String(-beat) : "";
        this.big.classList.remove("v-tick", "v-tock");
        void this.big.offsetWidth; // restarts the pulse
        this.big.classList.add(inBar === 0 ? "v-tick" : "v-tock");
      });
      this.firstDownbeat = this.metronome.firstDownbeat;
      this.from = this.firstDownbeat - PICKUP_BEATS * (60 / tempo) - 0.05;
    }

    playBacking(buffer) {
      const context = this.tape.context;
      const source = context.createBufferSource();
      source.buffer = buffer;
      source.connect(context.destination);
      const start = context.currentTime + 0.3;
      source.start(start);
      source.onended = () => this.state === "recording" && this.stop();
      this.playingBack = source;
      this.firstDownbeat = start + this.backing.downbeat;
      this.from = start;
      this.listen();
    }

    decoded(url) {
      return fetch(url).then((reply) => reply.arrayBuffer())
        .then((bytes) => this.tape.context.decodeAudioData(bytes));
    }

    tick() {
      const seconds = (performance.now() - this.since) / 1000;
      this.line.textContent = `${this.words.record_recording} ${clock(seconds)}`;
      this.line.setAttribute("aria-live", "off");
      if (seconds >= this.props.limits.seconds) this.stop();
    }

    meter(block) {
      if (!this.big || this.state !== "recording") return;
      const power = block.reduce((sum, sample) => sum + sample * sample, 0) / block.length;
      const level = Math.min(1, Math.max(0, (10 * Math.log10(power + 1e-9) + 60) / 50));
      this.level = Math.max(level, (this.level || 0) * 0.96);
      this.big.style.setProperty("--level", this.level.toFixed(3));
    }

    async stop() {
      clearInterval(this.ticking);
      if (this.metronome) this.metronome.stop();
      if (this.playingBack) this.playingBack.stop();
      this.metronome = this.playingBack = null;
      const tape = this.tape;
      const { samples, began } = tape.take(this.from);
      const rate = tape.context.sampleRate;
      tape.close();
      if (this.state === "countin" || samples.length < rate * 0.1) return this.become("idle");
      await this.sendFile(v2m.wavFile(samples, rate, "hum.wav"), this.guideOf(began));
    }

    /** The beat that was heard while singing, on the recording's own clock. */
    guideOf(began) {
      if (this.firstDownbeat === null) return null;
      const heard = this.backing || { tempo: this.guide.tempo, beats: this.guide.beats };
      return {
        tempo: heard.tempo, beats_per_bar: heard.beats,
        first_downbeat: this.firstDownbeat - began,
        latency: this.latency ?? v2m.ASSUMED_LATENCY,
      };
    }

    async measure() {
      this.latencyLine.textContent = this.words.latency_measuring;
      try {
        const { seconds, sure } = await v2m.calibrate();
        if (sure) {
          this.latency = seconds;
          localStorage.setItem(STORED_LATENCY, String(seconds));
        }
        this.draw();
        if (!sure) this.latencyLine.textContent = this.words.latency_failed;
      } catch (error) {
        this.fail(this.words[`mic_${error.name}`] || this.words.mic_other);
      }
    }

    // ---- to the server -----------------------------------------------------------------------

    async sendFile(file, guide) {
      if (file.size > this.props.limits.megabytes * 2 ** 20) {
        this.become("idle");
        return this.fail(fill(this.words.voice_file_large, {
          mb: Math.round(file.size / 2 ** 20), limit: this.props.limits.megabytes,
        }));
      }
      this.become("sending");
      try {
        const { path } = await this.upload(file);
        this.trigger("recorded", { path, name: file.name, guide, recorded: file.name === "hum.wav" });
      } catch (error) {
        this.fail(this.words.voice_upload_failed);
        console.info("upload:", error.message);
      }
      this.become("idle");
    }

    send(event, data) {
      this.trigger(event, data);
    }

    become(state) {
      this.state = state;
      this.draw();
    }

    fail(text) {
      this.hint.textContent = text;
      this.hint.classList.add("v-problem");
      this.hint.setAttribute("role", "alert");
    }
  }

  let recorder = null;

  v2m.mountRecorder = (element, trigger, props, upload, watch) => {
    recorder = new Recorder(element, trigger, props, upload);
    watch(["words", "value"], () => recorder.state === "idle" && recorder.draw());
    const card = element.closest(".v-room") || element;
    card.addEventListener("dragover", (event) => event.preventDefault());
    card.addEventListener("drop", (event) => {
      event.preventDefault();
      const file = event.dataTransfer.files[0];
      if (file && recorder.state === "idle") recorder.sendFile(file, null);
    });
  };

  /** Record again while a finished take plays in the headphones. */
  v2m.singOver = (backing) => {
    recorder.backing = backing;
    recorder.draw();
    recorder.element.scrollIntoView({ behavior: "smooth", block: "center" });
    recorder.big.focus({ preventScroll: true });
  };
})();
