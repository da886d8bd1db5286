// The microphone as plain samples: no echo canceller, no noise gate, no gain riding, and the exact
// context time of the first sample, which a MediaRecorder does not give.
(() => {
  const WORKLET = `
    registerProcessor("v2m-tape", class extends AudioWorkletProcessor {
      process(inputs) {
        const channels = inputs[0];
        if (channels.length) {
          const mono = new Float32Array(channels[0].length);
          for (const channel of channels)
            for (let i = 0; i < mono.length; i++) mono[i] += channel[i] / channels.length;
          this.port.postMessage({ time: currentTime, mono }, [mono.buffer]);
        }
        return true;
      }
    });`;

  /** Float samples as a 16-bit mono WAV file. */
  v2m.wavFile = (samples, rate, name) => {
    const view = new DataView(new ArrayBuffer(44 + samples.length * 2));
    const ascii = (at, text) => [...text].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
    ascii(0, "RIFF");
    view.setUint32(4, 36 + samples.length * 2, true);
    ascii(8, "WAVEfmt ");
    view.setUint32(16, 16, true);
    view.setUint16(20, 1, true);
    view.setUint16(22, 1, true);
    view.setUint32(24, rate, true);
    view.setUint32(28, rate * 2, true);
    view.setUint16(32, 2, true);
    view.setUint16(34, 16, true);
    ascii(36, "data");
    view.setUint32(40, samples.length * 2, true);
    samples.forEach((sample, i) => {
      const bounded = Math.max(-1, Math.min(1, sample));
      view.setInt16(44 + i * 2, Math.round(bounded * 32767), true);
    });
    return new File([view.buffer], name, { type: "audio/wav" });
  };

  v2m.Tape = class {
    /** Ask for the microphone. Rejects with the browser's DOMException, whose name says why. */
    static async open(level = () => {}) {
      if (!navigator.mediaDevices) throw new DOMException("no https", "SecurityError");
      const tape = new v2m.Tape();
      v2m.soundRole("play-and-record");
      tape.context = new AudioContext({ latencyHint: "interactive" });
      try {
        tape.stream = await navigator.mediaDevices.getUserMedia({
          audio: {
            echoCancellation: false, noiseSuppression: false, autoGainControl: false,
            channelCount: { ideal: 1 },
          },
        });
        await tape.connect(level);
      } catch (error) {
        tape.close();
        throw error;
      }
      return tape;
    }

    async connect(level) {
      this.blocks = [];
      const code = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
      await this.context.audioWorklet.addModule(code);
      URL.revokeObjectURL(code);
      await this.context.resume();
      const node = new AudioWorkletNode(this.context, "v2m-tape", { numberOfOutputs: 0 });
      this.context.createMediaStreamSource(this.stream).connect(node);
      // Phones deliver nothing for the first moments: ready means that sound has come in.
      this.ready = new Promise((resolve) => {
        node.port.onmessage = ({ data }) => {
          this.blocks.push(data);
          if (this.blocks.length === 20) resolve();
          level(data.mono);
        };
      });
    }

    /** Everything recorded from context time `from` on: {samples, began}. */
    take(from = 0) {
      const kept = this.blocks.filter(({ time }) => time >= from);
      const samples = new Float32Array(kept.reduce((sum, { mono }) => sum + mono.length, 0));
      let at = 0;
      for (const { mono } of kept) {
        samples.set(mono, at);
        at += mono.length;
      }
      return { samples, began: kept.length ? kept[0].time : from };
    }

    /** Let the microphone go, or a phone keeps playing quietly and in mono. */
    close() {
      if (this.stream) this.stream.getTracks().forEach((track) => track.stop());
      if (this.context && this.context.state !== "closed") this.context.close();
      v2m.soundRole("playback");
    }
  };
})();
