// Sound and its picture: a player of one or two tracks in step, a player of sound that is still
// being made, and the waveform both are seen and steered by.
(() => {
  const { el, icon, clock } = v2m;
  let speaking = null; // whichever player sounds now; only one does

  /** Peaks in [0, 1] as one closed path in a 1000 x 100 box, mirrored about the middle. */
  const outline = (peaks) => {
    const step = 1000 / peaks.length;
    const bar = (peak, i) => {
      const half = Math.max(1.2, peak * 48);
      const left = (i * step + step * 0.18).toFixed(1);
      const right = (i * step + step * 0.82).toFixed(1);
      return `M${left} ${(50 - half).toFixed(1)}H${right}V${(50 + half).toFixed(1)}H${left}Z`;
    };
    return peaks.map(bar).join("");
  };

  /** A waveform that is also a slider. `seek(share)` is called when the user moves it. */
  v2m.wave = (label, seek) => {
    const shape = (name) => el(`div.v-wave-${name}`);
    const back = shape("back");
    const front = shape("front");
    const node = el(
      "div.v-wave",
      {
        role: "slider", tabindex: "0", dir: "ltr", "aria-label": label,
        "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": "0",
      },
      back,
      front,
    );
    let share = 0;
    let seconds = 0;
    const at = (event) => {
      const box = node.getBoundingClientRect();
      return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    };
    node.onpointerdown = (event) => {
      if (event.target.closest(".v-handle")) return;
      node.setPointerCapture(event.pointerId);
      seek(at(event));
      node.onpointermove = (move) => seek(at(move));
    };
    node.onpointerup = node.onpointercancel = () => (node.onpointermove = null);
    node.onkeydown = (event) => {
      const step = { ArrowRight: 2, ArrowUp: 2, ArrowLeft: -2, ArrowDown: -2 }[event.key];
      const jump = { Home: 0, End: 1 }[event.key];
      if (step === undefined && jump === undefined) return;
      event.preventDefault();
      seek(jump ?? Math.min(1, Math.max(0, share + step / Math.max(seconds, 2))));
    };
    return {
      node,
      draw(peaks) {
        const picture = `<svg viewBox="0 0 1000 100" preserveAspectRatio="none"><path d="${outline(peaks)}"/></svg>`;
        back.innerHTML = picture;
        front.innerHTML = picture;
      },
      show(position, length) {
        seconds = length;
        share = length > 0 ? Math.min(1, position / length) : 0;
        node.style.setProperty("--at", `${share * 100}%`);
        node.setAttribute("aria-valuenow", String(Math.round(share * 100)));
        node.setAttribute("aria-valuetext", `${clock(position)} / ${clock(length)}`);
      },
    };
  };

  /** Two tracks (or one) that start on the same sample and are mixed here, not on the server. */
  v2m.Player = class {
    constructor(tracks, changed = () => {}) {
      this.tracks = tracks.map((track) => ({ gain: 1, ...track }));
      this.changed = changed;
      this.offset = 0;
      this.playing = false;
      this.loading = false;
      this.seconds = 0;
      this.sources = [];
    }

    get position() {
      if (!this.playing) return this.offset;
      const context = v2m.audio();
      const heard = context.currentTime - this.started;
      return Math.min(this.seconds, Math.max(this.offset, this.offset + heard));
    }

    async load() {
      if (this.buffers) return;
      this.buffers = await Promise.all(this.tracks.map((track) => v2m.sound(track.url)));
      this.seconds = Math.max(...this.buffers.map((buffer) => buffer.duration));
      this.headroom = Math.min(1, 0.98 / Math.max(this.summedPeak(), 1e-6));
    }

    /** Highest possible sample of all tracks together, so that the sum can never clip. */
    summedPeak() {
      const tops = this.buffers.map((buffer) => {
        const samples = buffer.getChannelData(0);
        let top = 0;
        for (let i = 0; i < samples.length; i += 3) top = Math.max(top, Math.abs(samples[i]));
        return top;
      });
      return tops.reduce((sum, top) => sum + top, 0);
    }

    async play() {
      const context = v2m.audio();
      v2m.soundRole("playback");
      this.loading = true;
      this.changed();
      try {
        await this.load();
      } finally {
        this.loading = false;
      }
      if (speaking && speaking !== this) speaking.pause();
      speaking = this;
      if (this.offset >= this.seconds - 0.05) this.offset = 0;
      this.start(context);
      this.changed();
    }

    start(context) {
      const master = context.createGain();
      master.gain.value = this.headroom;
      master.connect(context.destination);
      this.started = context.currentTime + 0.03;
      this.gains = [];
      this.sources = this.buffers.map((buffer, i) => {
        const source = context.createBufferSource();
        const gain = context.createGain();
        gain.gain.value = this.tracks[i].gain;
        source.buffer = buffer;
        source.connect(gain).connect(master);
        source.start(this.started, this.offset);
        this.gains.push(gain);
        return source;
      });
      this.playing = true;
      this.sources[0].onended = () => {
        if (this.playing && this.position >= this.seconds - 0.1) this.halt(0);
      };
    }

    halt(offset) {
      this.offset = offset;
      this.playing = false;
      for (const source of this.sources) {
        source.onended = null;
        source.stop();
      }
      this.sources = [];
      this.changed();
    }

    pause() {
      if (this.playing) this.halt(this.position);
    }

    toggle() {
      return this.playing ? this.pause() : this.play();
    }

    seek(share) {
      const playing = this.playing;
      if (playing) this.halt(this.position);
      this.offset = share * this.seconds;
      if (playing) this.play();
      else this.changed();
    }

    setGain(index, value) {
      this.tracks[index].gain = value;
      if (!this.playing) return;
      this.gains[index].gain.setTargetAtTime(value, v2m.audio().currentTime, 0.015);
    }
  };

  /** Sound that is still being made: stretches are queued one after the other without gaps. */
  v2m.Stream = class {
    constructor(changed = () => {}) {
      this.changed = changed;
      this.urls = [];
      this.next = 0;
      this.at = 0;
      this.sources = [];
      this.playing = false;
      this.begun = null;
      this.played = 0;
    }

    get position() {
      if (this.begun === null) return 0;
      return Math.max(0, v2m.audio().currentTime - this.begun);
    }

    feed(urls) {
      const another = this.urls.length > 0 && urls[0] !== this.urls[0];
      if (another && this.playing) return; // what is heard is heard to its end
      this.urls = urls;
      if (this.playing) this.pump();
    }

    play() {
      v2m.soundRole("playback");
      if (speaking && speaking !== this) speaking.pause();
      speaking = this;
      this.playing = true;
      this.next = 0;
      this.begun = null;
      this.changed();
      this.pump();
    }

    /** Schedule every stretch that has arrived and is not scheduled yet. */
    async pump() {
      if (this.pumping) return;
      this.pumping = true;
      try {
        while (this.playing && this.next < this.urls.length) {
          const buffer = await v2m.sound(this.urls[this.next]);
          if (!this.playing) return;
          const context = v2m.audio();
          const soon = context.currentTime + 0.05;
          if (this.begun === null) this.begun = this.at = soon;
          if (this.at < soon) { // it ran dry: the clock stands still meanwhile
            this.begun += soon - this.at;
            this.at = soon;
          }
          const source = context.createBufferSource();
          source.buffer = buffer;
          source.connect(context.destination);
          source.start(this.at);
          this.sources.push(source);
          this.at += buffer.duration;
          this.next += 1;
        }
      } finally {
        this.pumping = false;
      }
    }

    pause() {
      this.playing = false;
      this.sources.forEach((source) => source.stop());
      this.sources = [];
      this.changed();
    }

    toggle() {
      return this.playing ? this.pause() : this.play();
    }
  };

  /** Round play button whose label and icon follow the player. */
  v2m.playButton = (words, toggle, small = false) => {
    const button = el(small ? "button.v-play.v-small" : "button.v-play", {
      type: "button", onclick: toggle,
    });
    button.follow = (player) => {
      const state = player.loading ? "wait" : player.playing ? "pause" : "play";
      if (button.dataset.state === state) return;
      button.dataset.state = state;
      button.replaceChildren(icon(state === "play" ? "play" : "pause"));
      button.setAttribute("aria-label", state === "play" ? words.play : words.pause);
    };
    button.follow({ playing: false });
    return button;
  };

  /** Call `draw` on each screen refresh while `player` sounds, and once after it stopped. */
  v2m.whilePlaying = (player, draw) => {
    const frame = () => {
      draw();
      if (player.playing) requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  };

  v2m.hush = () => speaking && speaking.pause();
  v2m.speaking = () => speaking;
})();
