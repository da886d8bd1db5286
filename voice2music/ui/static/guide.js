// The guide beat in the headphones, tapped tempo, and how late a recording is on this device.
(() => {
  const LOOKAHEAD = 0.15; // s of clicks scheduled ahead of the clock
  const CALIBRATION = [0, 0.5, 1.1, 1.6, 2.3, 2.8]; // s; uneven, so that no wrong shift fits
  const TONE = 2000; // Hz
  const WINDOW = 0.008; // s
  const LONGEST_LAG = 0.6; // s
  const SURE = 6; // best lag over the median one; a room without the clicks stays under 2
  v2m.ASSUMED_LATENCY = 0.175; // s, the usual round trip of a browser recording

  /** One click at context time `when`; the first of a bar is higher and louder. */
  v2m.click = (context, when, accent) => {
    const tone = context.createOscillator();
    const gain = context.createGain();
    tone.frequency.value = accent ? 1760 : 1175;
    gain.gain.setValueAtTime(0.0001, when);
    gain.gain.exponentialRampToValueAtTime(accent ? 0.5 : 0.28, when + 0.002);
    gain.gain.exponentialRampToValueAtTime(0.0001, when + 0.07);
    tone.connect(gain).connect(context.destination);
    tone.start(when);
    tone.stop(when + 0.08);
  };

  /** A metronome that counts in one bar from context time `start`; `tick(beat)` is called on time:
      beat < 0 counts in, 0 is the first downbeat. */
  v2m.Metronome = class {
    constructor(context, tempo, beatsPerBar, start, tick) {
      Object.assign(this, { context, beatsPerBar, tick, period: 60 / tempo });
      this.firstDownbeat = start + beatsPerBar * this.period;
      this.beat = -beatsPerBar;
      this.timers = [];
      this.loop = setInterval(() => this.schedule(), 40);
      this.schedule();
    }

    schedule() {
      for (;;) {
        const when = this.firstDownbeat + this.beat * this.period;
        if (when > this.context.currentTime + LOOKAHEAD) return;
        const inBar = ((this.beat % this.beatsPerBar) + this.beatsPerBar) % this.beatsPerBar;
        v2m.click(this.context, when, inBar === 0);
        const beat = this.beat;
        const wait = Math.max(0, when - this.context.currentTime) * 1000;
        this.timers.push(setTimeout(() => this.tick(beat, inBar), wait));
        this.beat += 1;
      }
    }

    stop() {
      clearInterval(this.loop);
      this.timers.forEach(clearTimeout);
    }
  };

  /** Tempo of the last taps (performance.now() values, ms), or null for fewer than two. */
  v2m.tappedTempo = (taps) => {
    const recent = taps.filter((tap) => taps[taps.length - 1] - tap < 6000).slice(-8);
    if (recent.length < 2) return null;
    const period = (recent[recent.length - 1] - recent[0]) / (recent.length - 1);
    return Math.min(240, Math.max(40, Math.round(60000 / period)));
  };

  /** Share of `TONE` in each stretch of WINDOW seconds that begins at a sample, every `hop`. */
  const toneAt = (samples, rate, hop) => {
    const length = Math.round(WINDOW * rate);
    const out = new Float32Array(Math.max(0, Math.floor((samples.length - length) / hop)));
    for (let i = 0; i < out.length; i++) {
      let re = 0;
      let im = 0;
      for (let j = 0; j < length; j++) {
        const angle = (2 * Math.PI * TONE * j) / rate;
        re += samples[i * hop + j] * Math.cos(angle);
        im += samples[i * hop + j] * Math.sin(angle);
      }
      out[i] = Math.hypot(re, im);
    }
    return out;
  };

  /** How late clicks played at `times` (s) stand in `samples`: {seconds, sure}. The shift is the
      one that puts the most of the click tone at all the times together. */
  v2m.latencyOf = (samples, rate, times) => {
    const hop = Math.round(rate / 1000);
    const tone = toneAt(samples, rate, hop);
    const lags = Math.round((LONGEST_LAG * rate) / hop);
    const scores = [];
    for (let lag = 0; lag < lags; lag++) {
      let score = 0;
      for (const time of times) score += tone[Math.round((time * rate) / hop) + lag] || 0;
      scores.push(score);
    }
    const best = scores.indexOf(Math.max(...scores));
    const median = [...scores].sort((a, b) => a - b)[Math.floor(lags / 2)];
    return { seconds: (best * hop) / rate, sure: scores[best] > SURE * Math.max(median, 1e-9) };
  };

  const burst = (context, when) => {
    const tone = context.createOscillator();
    const gain = context.createGain();
    tone.frequency.value = TONE;
    gain.gain.setValueAtTime(0, when);
    gain.gain.setValueAtTime(0.6, when + 1e-4);
    gain.gain.setValueAtTime(0, when + WINDOW);
    tone.connect(gain).connect(context.destination);
    tone.start(when);
    tone.stop(when + 0.02);
  };

  /** Play clicks, record them, and measure the way from loudspeaker to recording. */
  v2m.calibrate = async () => {
    const tape = await v2m.Tape.open();
    try {
      await tape.ready;
      const start = tape.context.currentTime + 0.3;
      CALIBRATION.forEach((time) => burst(tape.context, start + time));
      await new Promise((done) => setTimeout(done, (CALIBRATION.at(-1) + 1.3) * 1000));
      const { samples, began } = tape.take();
      const times = CALIBRATION.map((time) => start + time - began);
      return v2m.latencyOf(samples, tape.context.sampleRate, times);
    } finally {
      tape.close();
    }
  };
})();
