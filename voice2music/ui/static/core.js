// Small things that every part of the page uses: DOM building, the one AudioContext, decoded sound.
window.v2m = window.v2m || {};

(() => {
  /** Build an element: el("button.primary", {onclick: f, "aria-label": "Play"}, child, "text"). */
  v2m.el = (spec, attributes = {}, ...children) => {
    const [tag, ...classes] = spec.split(".");
    const node = document.createElement(tag || "div");
    if (classes.length) node.className = classes.join(" ");
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on")) node[name] = value;
      else if (name === "html") node.innerHTML = value;
      else node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  };

  const nameOf = (node) =>
    [node.tagName, node.type, node.getAttribute("aria-label"), node.dataset.side, node.dataset.act,
      node.dataset.example, node.textContent].join("|");

  /** Redraw something without losing the keyboard's place in it; `rest` takes it where the control
      that had it is gone. */
  v2m.redraw = (box, draw, rest = () => null) => {
    const active = document.activeElement;
    const held = active && active !== document.body && box.contains(active) ? nameOf(active) : null;
    draw();
    if (held === null) return;
    const controls = [...box.querySelectorAll("button, input, select, summary, [tabindex='0']")];
    const next = controls.find((node) => nameOf(node) === held) || rest();
    if (next) next.focus({ preventScroll: true });
  };

  /** Fill "{name}" places of a translated sentence. */
  v2m.fill = (text, values = {}) =>
    (text || "").replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole));

  /** 75.2 -> "1:15". */
  v2m.clock = (seconds) => {
    const whole = Math.max(0, Math.floor(seconds + 1e-6));
    return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  };

  const paths = {
    play: "M8 5.5v13l11-6.5z",
    pause: "M7 5h3.6v14H7zM13.4 5H17v14h-3.6z",
    stop: "M7 7h10v10H7z",
    mic: "M12 14.5a3.2 3.2 0 0 0 3.2-3.2V6.2a3.2 3.2 0 0 0-6.4 0v5.1a3.2 3.2 0 0 0 3.2 3.2zm5.6-3.2a5.6 5.6 0 0 1-11.2 0H4.8a7.2 7.2 0 0 0 6.4 7.15V21h1.6v-2.55a7.2 7.2 0 0 0 6.4-7.15z",
    again: "M12 6V3L7.5 7 12 11V8a4.9 4.9 0 1 1-4.9 4.9H5A7 7 0 1 0 12 6z",
    plus: "M11 5h2v6h6v2h-6v6h-2v-6H5v-2h6z",
    down: "M11 4h2v9.2l3.3-3.3 1.4 1.4L12 17l-5.7-5.7 1.4-1.4 3.3 3.3zM5 18.5h14v2H5z",
    file: "M11 16h2V8.8l3.3 3.3 1.4-1.4L12 5l-5.7 5.7 1.4 1.4L11 8.8zM5 18.5h14v2H5z",
    note: "M17 4v10.6a3 3 0 1 1-1.8-2.75V7.6l-6 1.3v7.7a3 3 0 1 1-1.8-2.75V6z",
    words: "M5 6h14v2H5zm0 5h14v2H5zm0 5h9v2H5z",
    close: "M6.7 5.3 12 10.6l5.3-5.3 1.4 1.4L13.4 12l5.3 5.3-1.4 1.4L12 13.4l-5.3 5.3-1.4-1.4L10.6 12 5.3 6.7z",
    moon: "M20 14.5A8.2 8.2 0 0 1 9.5 4 8.3 8.3 0 1 0 20 14.5z",
    beat: "M9.2 3h5.6L18 21H6zm1.6 2-.6 3.6h3.6L13.2 5zm-1 6-1.3 8h7l-1.3-8z",
    more: "M6 10.2a1.8 1.8 0 1 1 0 3.6 1.8 1.8 0 0 1 0-3.6zm6 0a1.8 1.8 0 1 1 0 3.6 1.8 1.8 0 0 1 0-3.6zm6 0a1.8 1.8 0 1 1 0 3.6 1.8 1.8 0 0 1 0-3.6z",
  };

  /** An icon of our own small set, hidden from screen readers (the button carries the label). */
  v2m.icon = (name) =>
    v2m.el("span.v-icon", {
      "aria-hidden": "true",
      html: `<svg viewBox="0 0 24 24" focusable="false"><path d="${paths[name]}"/></svg>`,
    });

  let context = null;

  /** The page's one AudioContext. Browsers start it only inside a click or a key press. */
  v2m.audio = () => {
    if (!context || context.state === "closed") context = new AudioContext();
    if (context.state === "suspended") context.resume();
    return context;
  };

  /** On iPhones: say what the page does with sound, so that the ring switch does not mute it
      and an open microphone does not turn the loudspeaker down. */
  v2m.soundRole = (role) => {
    if (navigator.audioSession) navigator.audioSession.type = role;
  };

  const decoded = new Map();
  const KEPT = 8;

  /** The decoded sound of a file; the last few are kept. */
  v2m.sound = (url) => {
    if (!decoded.has(url)) {
      const loading = fetch(url)
        .then((reply) => {
          if (!reply.ok) throw new Error(`${reply.status} for ${url}`);
          return reply.arrayBuffer();
        })
        .then((bytes) => v2m.audio().decodeAudioData(bytes));
      loading.catch(() => decoded.delete(url));
      decoded.set(url, loading);
      if (decoded.size > KEPT) decoded.delete(decoded.keys().next().value);
    }
    return decoded.get(url);
  };

  /** "Make music" was pressed: sound may start from here on; on a phone, show where it will. */
  v2m.begin = () => {
    v2m.audio();
    const room = document.getElementById("listen");
    if (room.getBoundingClientRect().top > window.innerHeight * 0.7)
      room.scrollIntoView({ behavior: "smooth", block: "start" });
  };

  /** Hand a finished file to the browser's downloads. */
  v2m.courier = (element, props, watch) => {
    watch("value", () => {
      if (!props.value || !props.value.url) return;
      const link = v2m.el("a", { href: props.value.url, download: props.value.name });
      document.body.append(link);
      link.click();
      link.remove();
    });
  };
})();
