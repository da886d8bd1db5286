// What was heard: the recording with its trim handles, the tune as a picture, the facts, the
// findings, and the choice between the tune as sung and tidied up.
(() => {
  const { el, icon, clock, fill } = v2m;
  const SHORTEST = 0.5; // s that a trim leaves at least

  class Heard {
    constructor(element, trigger, props) {
      Object.assign(this, { element, trigger, props });
      this.draw();
    }

    get view() {
      const { value } = this.props;
      return value && (value.url || value.wordless) ? value : null;
    }

    get words() {
      return this.props.words;
    }

    draw() {
      const box = this.element.querySelector(".v-heard");
      v2m.redraw(box, () => this.fill(box));
    }

    fill(box) {
      if (this.player && this.view?.url !== this.url) this.player.pause();
      if (!this.view) return box.replaceChildren();
      if (this.view.wordless) return box.replaceChildren(this.drawWordless());
      box.replaceChildren(
        el("div.v-heard-head", {},
          el("h3", {}, this.view.title),
          el("button.v-link", { type: "button", onclick: () => this.trigger("forgotten", {}) },
            this.words.voice_forget)),
        this.drawPlayer(),
        ...(this.view.shortened ? [el("p.v-hint", {}, this.view.shortened)] : []),
        ...this.drawHearing(),
      );
    }

    drawWordless() {
      return el("div.v-heard-head", {},
        el("p.v-hint", {}, this.words.voice_wordless),
        el("button.v-link", { type: "button", onclick: () => this.trigger("forgotten", {}) },
          this.words.voice_wordless_undo));
    }

    // ---- the recording -----------------------------------------------------------------------

    drawPlayer() {
      const { view, words } = this;
      this.choosePlayer();
      this.button = v2m.playButton(words, () => this.toggle());
      this.wave = v2m.wave(words.seek, (share) => this.player.load().then(() => this.player.seek(share)));
      this.wave.draw(view.use_corrected ? view.corrected_peaks : view.peaks);
      this.time = el("span.v-time", { dir: "ltr" });
      if (!view.use_corrected) this.addHandles();
      this.follow();
      return el("div.v-player", {}, this.button, this.wave.node, this.time);
    }

    /** The player of the version in use; changing the version goes on from the same place. */
    choosePlayer() {
      const { view, player: before } = this;
      const url = view.use_corrected ? view.corrected : view.url;
      if (this.playing === url) return;
      const same = before && this.url === view.url;
      const sounded = same && before.playing;
      const place = same ? before.position - (this.from || 0) : 0;
      if (before) before.pause();
      this.playing = url;
      this.url = view.url;
      this.from = view.use_corrected ? 0 : view.trim[0];
      this.player = new v2m.Player([{ url }], () => this.follow());
      this.player.seconds = view.use_corrected ? view.trim[1] - view.trim[0] : view.seconds;
      this.player.offset = Math.max(0, place) + this.from;
      if (sounded) this.player.play();
    }

    toggle() {
      const { view, player } = this;
      const [start, end] = view.trim;
      const outside = player.offset < start - 0.01 || player.offset >= end - 0.05;
      if (!player.playing && outside && !view.use_corrected) player.offset = start;
      return player.toggle();
    }

    follow() {
      const { player, view } = this;
      if (!this.button) return;
      this.button.follow(player);
      const draw = () => {
        const end = view.use_corrected ? player.seconds : view.trim[1];
        if (player.playing && player.position >= end) player.pause();
        this.wave.show(player.position, player.seconds);
        this.time.textContent = `${clock(player.position)} / ${clock(end)}`;
      };
      if (player.playing) v2m.whilePlaying(player, draw);
      else draw();
    }

    addHandles() {
      const { view, words, wave } = this;
      this.trim = [...view.trim];
      this.handles = [0, 1].map((side) => {
        const handle = el("div.v-handle", {
          role: "slider", tabindex: "0", "data-side": side ? "end" : "start",
          "aria-label": side ? words.voice_trim_end : words.voice_trim_start,
          "aria-valuemin": 0, "aria-valuemax": view.seconds.toFixed(1),
        });
        handle.onpointerdown = (event) => {
          event.stopPropagation();
          handle.setPointerCapture(event.pointerId);
          handle.onpointermove = (move) => {
            const box = wave.node.getBoundingClientRect();
            this.moveTrim(side, ((move.clientX - box.left) / box.width) * view.seconds);
          };
        };
        handle.onpointerup = handle.onpointercancel = () => {
          handle.onpointermove = null;
          this.sendTrim();
        };
        handle.onkeydown = (event) => {
          const step = { ArrowRight: 0.25, ArrowUp: 0.25, ArrowLeft: -0.25, ArrowDown: -0.25 }[event.key];
          if (!step) return;
          event.preventDefault();
          event.stopPropagation();
          this.moveTrim(side, this.trim[side] + step);
          clearTimeout(this.settling);
          this.settling = setTimeout(() => this.sendTrim(), 700);
        };
        wave.node.append(handle);
        return handle;
      });
      this.placeHandles();
    }

    moveTrim(side, time) {
      const [low, high] = side
        ? [this.trim[0] + SHORTEST, this.view.seconds]
        : [0, this.trim[1] - SHORTEST];
      this.trim[side] = Math.min(high, Math.max(low, time));
      this.placeHandles();
    }

    placeHandles() {
      this.handles.forEach((handle, side) => {
        handle.style.insetInlineStart = `${(this.trim[side] / this.view.seconds) * 100}%`;
        handle.setAttribute("aria-valuenow", this.trim[side].toFixed(2));
        handle.setAttribute("aria-valuetext", `${this.trim[side].toFixed(1)} s`);
      });
      const share = (time) => `${(time / this.view.seconds) * 100}%`;
      this.wave.node.style.setProperty("--from", share(this.trim[0]));
      this.wave.node.style.setProperty("--to", share(this.trim[1]));
    }

    sendTrim() {
      const moved = this.trim.some((time, i) => Math.abs(time - this.view.trim[i]) > 0.01);
      if (moved) this.trigger("trimmed", { start: this.trim[0], end: this.trim[1] });
    }

    // ---- what was heard in it ----------------------------------------------------------------

    drawHearing() {
      const { view, words } = this;
      if (!view.facts) return [el("p.v-hint.v-listening", { role: "status" }, words.voice_listening)];
      const facts = (view.facts || []).map(({ label, value, note }) =>
        el("div.v-fact", {}, el("dt", {}, label),
          el("dd", {}, el("bdi", {}, value), note ? el("small", {}, note) : null)));
      return [
        view.roll
          ? el("figure.v-roll", { role: "img", "aria-label": view.roll_label, dir: "ltr", html: view.roll })
          : null,
        facts.length ? el("dl.v-facts", {}, ...facts) : null,
        this.drawFindings(),
        this.drawCleaned(),
        view.can_correct ? this.drawVersions() : null,
      ].filter(Boolean);
    }

    drawFindings() {
      const { findings } = this.view;
      if (!findings.length) return null;
      return el("ul.v-findings", { role: "status" }, ...findings.map(({ severity, text }) =>
        el(`li.v-${severity}`, {}, text)));
    }

    drawCleaned() {
      const { cleaned, offer } = this.view;
      if (!cleaned && !offer) return null;
      const button = (event, text) =>
        el("button.v-link", { type: "button", onclick: () => this.trigger("cleaned", event) }, text);
      return el("p.v-cleaned", { role: "status" },
        cleaned ? el("span", {}, cleaned, " ") : null,
        ...(offer || []).map(({ what, text }) => button({ what }, text)));
    }

    drawVersions() {
      const { view, words } = this;
      const choice = (on, text) => {
        const input = el("input", {
          type: "radio", name: "v-version", checked: view.use_corrected === on,
          onchange: () => this.trigger("corrected", { on }),
        });
        return el("label", {}, input, el("span", {}, text));
      };
      return el("fieldset.v-segments", {},
        el("legend", {}, words.voice_version),
        choice(false, words.voice_version_sung), choice(true, words.voice_version_tidy));
    }
  }

  v2m.mountHeard = (element, trigger, props, watch) => {
    const heard = new Heard(element, trigger, props);
    watch(["value", "words"], () => heard.draw());
  };
})();
