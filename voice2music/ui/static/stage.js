// Step 3: one row for the band, two columns for the models, the takes in them, and earlier takes.
(() => {
  const { el, icon, clock, fill } = v2m;
  const AUDIO = ["wav", "flac", "mp3"];

  /** Gains of music and voice for a balance in [0, 1]: 0 voice alone, .5 both, 1 music alone. */
  v2m.gains = (balance) => ({
    music: Math.min(1, 2 * balance) ** 2,
    voice: Math.min(1, 2 * (1 - balance)) ** 2,
  });

  // ---- one take ------------------------------------------------------------------------------

  class Card {
    constructor(stage) {
      this.stage = stage;
      this.balance = 0.5;
      this.node = el("article.v-card");
    }

    show(take, words) {
      const same = JSON.stringify([take, words.play]) === this.shown;
      if (same) return;
      this.shown = JSON.stringify([take, words.play]);
      Object.assign(this, { take, words });
      this.makePlayer();
      this.node.dataset.take = take.id;
      this.node.setAttribute("aria-label", take.title);
      v2m.redraw(this.node, () => this.node.replaceChildren(
        this.drawHead(), this.drawPlayer(), this.drawMix(), this.drawFollow(),
        this.drawActions(), this.drawFoot(),
      ));
      this.follow();
    }

    makePlayer() {
      if (this.player) return;
      const tracks = [{ url: this.take.music }];
      if (this.take.voice) tracks.push({ url: this.take.voice });
      this.player = new v2m.Player(tracks, () => this.follow());
      this.player.seconds = this.take.seconds;
    }

    drawHead() {
      const { take, words } = this;
      return el("header.v-card-head", {},
        el("h4", {}, take.title),
        take.best ? el("span.v-tag.v-best", {}, words.listen_best) : null,
        el("span.v-seed", { dir: "ltr" }, fill(words.listen_seed_is, { seed: take.seed })));
    }

    drawPlayer() {
      this.button = v2m.playButton(this.words, () => this.player.toggle());
      this.wave = v2m.wave(this.words.seek, (share) =>
        this.player.load().then(() => this.player.seek(share)));
      this.wave.draw(this.take.peaks);
      this.time = el("span.v-time", { dir: "ltr" });
      return el("div.v-player", {}, this.button, this.wave.node, this.time);
    }

    follow() {
      const { player } = this;
      this.button.follow(player);
      const draw = () => {
        this.wave.show(player.position, player.seconds);
        this.time.textContent = `${clock(player.position)} / ${clock(player.seconds)}`;
        this.node.style.setProperty("--now", `${(player.position / player.seconds) * 100}%`);
      };
      if (player.playing) v2m.whilePlaying(player, draw);
      else draw();
    }

    drawMix() {
      if (!this.take.voice) return "";
      const { words } = this;
      const slider = el("input.v-mix", {
        type: "range", min: 0, max: 100, step: 1, value: this.balance * 100,
        "aria-label": words.listen_mix,
        oninput: () => {
          this.balance = Number(slider.value) / 100;
          this.applyMix();
          slider.setAttribute("aria-valuetext", this.mixText());
        },
        ondblclick: () => { slider.value = 50; slider.oninput(); },
      });
      slider.setAttribute("aria-valuetext", this.mixText());
      return el("div.v-mix-row", { dir: "ltr" },
        el("span", { "aria-hidden": "true" }, words.listen_mix_voice), slider,
        el("span", { "aria-hidden": "true" }, words.listen_mix_music));
    }

    mixText() {
      const { music, voice } = v2m.gains(this.balance);
      return `${this.words.listen_mix_voice} ${Math.round(voice * 100)} %, ` +
        `${this.words.listen_mix_music} ${Math.round(music * 100)} %`;
    }

    applyMix() {
      const { music, voice } = v2m.gains(this.balance);
      this.player.setGain(0, music);
      this.player.setGain(1, voice);
    }

    drawFollow() {
      const { follow, overlay, overlay_label: label } = this.take;
      if (!follow) return "";
      const { words } = this;
      const rows = follow.measures.map(({ name, value, floor }) =>
        el("div.v-measure", {}, el("dt", {}, name),
          el("dd", {}, el("span.v-bar", { "aria-hidden": "true", style:
            `--value:${value * 100}%;--floor:${floor * 100}%` }),
            el("span", { dir: "ltr" }, `${Math.round(value * 100)} %`),
            el("small", {}, fill(words.listen_by_chance, { floor: Math.round(floor * 100) })))));
      const picture = el("figure.v-overlay", { role: "img", "aria-label": label, dir: "ltr" });
      const unfold = async () => {
        if (!overlay || picture.firstChild) return;
        picture.innerHTML = await (await fetch(overlay)).text();
      };
      return el("details.v-follow", { ontoggle: unfold },
        el("summary", {},
          el("span.v-dots", { "aria-hidden": "true", "data-verdict": follow.verdict },
            el("i"), el("i"), el("i"), el("i")),
          el("span", {}, follow.words)),
        overlay ? picture : null,
        overlay ? el("p.v-key", {}, el("span.v-key-voice", {}, words.listen_overlay_voice),
          el("span.v-key-music", {}, words.listen_overlay_music)) : null,
        el("dl.v-measures", {}, ...rows));
    }

    drawActions() {
      const { take, words, stage } = this;
      const act = (event, name, text, extra = {}) =>
        el("button.v-quiet", { type: "button", "data-act": event, onclick: () =>
          stage.trigger(event, { take: take.id, ...extra }) }, name ? icon(name) : null, text);
      const sing = el("button.v-quiet", { type: "button", "data-act": "sing-over", onclick: () => {
        this.player.pause();
        v2m.singOver({ url: take.music, title: take.title, tempo: take.tempo,
          beats: take.beats_per_bar, downbeat: take.downbeat });
      } }, icon("mic"), words.listen_sing_over);
      return el("div.v-actions", {},
        act("another", "plus", words.listen_another),
        act("again", "again", words.listen_same_again),
        this.drawDownloads(),
        el("details.v-menu", {},
          el("summary.v-quiet", { "aria-label": words.listen_more_actions }, icon("more")),
          el("div.v-menu-list", {}, act("othergenre", "note", words.listen_other_genre),
            take.tempo ? sing : null)));
    }

    drawDownloads() {
      const { take, words, stage } = this;
      const item = (kind) =>
        el("button.v-quiet", { type: "button", "data-download": kind, onclick: () =>
          stage.trigger("download", { take: take.id, kind, balance: this.balance }) }, words[`download_${kind}`]);
      return el("details.v-menu", {},
        el("summary.v-quiet", { "data-act": "download" }, icon("down"), words.listen_download),
        el("div.v-menu-list", {}, ...take.downloads.map(item),
          take.voice ? el("p.v-hint", {}, words.listen_download_hint) : null));
    }

    drawFoot() {
      const { take } = this;
      return el("footer.v-foot", {},
        ...take.notes.map((note) => el("p", { dir: "auto" }, note)),
        el("p", {}, ...[take.made_by, " · ", take.licence, " · ", take.commercial].map((part) =>
          el("bdi", {}, part))));
    }
  }

  // ---- one column ----------------------------------------------------------------------------

  class Slot {
    constructor(stage, name) {
      Object.assign(this, { stage, name });
      this.cards = new Map();
      this.title = el("h3");
      this.genre = el("span.v-tag");
      this.state = el("div.v-state");
      this.list = el("div.v-cards");
      this.node = el("section.v-slot", { "data-slot": name },
        el("header.v-slot-head", {}, this.title, this.genre), this.state, this.list);
    }

    show(view, words) {
      this.title.textContent = view.title;
      this.genre.textContent = view.genre;
      this.genre.hidden = !view.genre;
      this.node.dataset.state = view.state;
      this.node.setAttribute("aria-label", view.title);
      this.showState(view, words);
      this.showTakes(view.takes, words);
      this.hear(view);
    }

    showTakes(takes, words) {
      const wanted = new Set(takes.map(({ id }) => id));
      for (const [id, card] of this.cards)
        if (!wanted.has(id)) {
          card.player.pause();
          this.cards.delete(id);
        }
      const nodes = takes.map((take) => {
        if (!this.cards.has(take.id)) this.cards.set(take.id, new Card(this.stage));
        const card = this.cards.get(take.id);
        card.show(take, words);
        return card.node;
      });
      const now = [...this.list.children];
      if (nodes.length !== now.length || nodes.some((node, i) => node !== now[i]))
        this.list.replaceChildren(...nodes);
    }

    showState(view, words) {
      const key = JSON.stringify([view.state, view.error, words.listen_cancel, Boolean(view.sounds.length)]);
      if (key !== this.stateShown) {
        this.stateShown = key;
        this.state.replaceChildren(...this.drawState(view, words));
      }
      if (!this.bar) return;
      const percent = Math.round(view.share * 100);
      this.bar.style.setProperty("--share", `${percent}%`);
      this.bar.setAttribute("aria-valuenow", percent);
      this.text.textContent = view.words;
    }

    drawState(view, words) {
      this.bar = this.text = this.early = null;
      if (view.error) return [el("p.v-error", { role: "alert" }, view.error)];
      if (view.state === "stopped") return [el("p.v-hint", { role: "status" }, words.listen_stopped)];
      if (!["waiting", "working"].includes(view.state)) return [];
      this.bar = el("div.v-progress", {
        role: "progressbar", "aria-label": view.title, "aria-valuemin": 0, "aria-valuemax": 100,
      });
      this.text = el("span.v-progress-words");
      const cancel = el("button.v-quiet", { type: "button", "data-act": "cancel", onclick: () => {
        if (this.stream) this.stream.pause();
        this.stage.trigger("cancelled", { slot: this.name });
      } }, icon("close"), words.listen_cancel);
      const row = [this.text, cancel];
      if (view.sounds.length) row.unshift(this.drawEarly(words));
      return [this.bar, el("div.v-progress-row", {}, ...row)];
    }

    /** A play button for the first seconds, while the rest is still being made. */
    drawEarly(words) {
      if (!this.stream) this.stream = new v2m.Stream(() => this.early && this.early.follow(this.stream));
      this.early = v2m.playButton(words, () => this.stream.toggle(), true);
      this.early.follow(this.stream);
      return this.early;
    }

    /** Feed the early player; when the whole take is there, go on in it from the same place. */
    hear(view) {
      if (this.stream && view.state === "working" && view.sounds.length)
        return this.stream.feed(view.sounds);
      if (!this.stream || view.state === "working" || view.state === "waiting") return;
      const { playing, position } = this.stream;
      this.stream.pause();
      this.stream = null;
      if (!playing || !view.takes.length) return;
      const { player } = this.cards.get(view.takes[view.takes.length - 1].id);
      player.offset = position;
      player.play();
    }
  }

  // ---- the room ------------------------------------------------------------------------------

  class Stage {
    constructor(element, trigger, props) {
      Object.assign(this, { element, trigger, props });
      this.slots = new Map();
      this.earlier = new Map();
      this.box = element.querySelector(".v-stage");
      this.said = el("p.v-sr", { role: "status", "aria-live": "polite" });
      this.empty = el("div.v-empty");
      this.grid = el("div.v-slots");
      this.past = el("details.v-past");
      this.box.append(this.said, this.empty, this.grid, this.past);
      this.draw();
    }

    draw() {
      const { words } = this.props;
      const value = this.props.value?.slots ? this.props.value : null;
      const slots = value ? value.slots : [];
      this.empty.hidden = slots.length > 0;
      this.empty.replaceChildren(
        el("div.v-empty-picture", { "aria-hidden": "true" }, ...Array.from({ length: 28 }, () => el("i"))),
        el("p", {}, words.listen_empty));
      if (value && this.said.textContent !== value.said) this.said.textContent = value.said;
      this.drawSlots(slots, words);
      this.drawPast(value ? value.earlier : [], words);
      this.begin(value?.play, slots);
    }

    drawSlots(slots, words) {
      const wanted = new Set(slots.map(({ slot }) => slot));
      for (const [name, slot] of this.slots)
        if (!wanted.has(name)) {
          slot.node.remove();
          this.slots.delete(name);
        }
      for (const view of slots) {
        if (!this.slots.has(view.slot)) {
          const slot = new Slot(this, view.slot);
          this.slots.set(view.slot, slot);
          this.grid.append(slot.node);
        }
        this.slots.get(view.slot).show(view, words);
      }
    }

    drawPast(takes, words) {
      this.past.hidden = takes.length === 0;
      if (!takes.length) return;
      if (!this.pastList) {
        this.pastTitle = el("summary");
        this.pastList = new Slot(this, "past");
        this.past.append(this.pastTitle, this.pastList.list);
      }
      this.pastTitle.textContent = fill(words.listen_earlier, { n: takes.length });
      this.pastList.showTakes(takes, words);
    }

    /** The visitor asked for music: the first take of a job starts by itself, once. */
    begin(wanted, slots) {
      if (!wanted || this.begun === wanted) return;
      this.begun = wanted;
      if (v2m.speaking() && v2m.speaking().playing) return;
      for (const { slot } of slots) {
        const card = this.slots.get(slot).cards.get(wanted);
        if (card) card.player.play();
      }
    }
  }

  // A menu closes when something in it or anything beside it is pressed, and by Escape.
  document.addEventListener("click", ({ target }) => {
    for (const menu of document.querySelectorAll(".v-menu[open]"))
      if (!menu.contains(target) || target.closest(".v-menu-list button")) menu.open = false;
  });
  document.addEventListener("keydown", ({ key }) => {
    const menu = key === "Escape" && document.querySelector(".v-menu[open]");
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });

  v2m.mountStage = (element, trigger, props, watch) => {
    const stage = new Stage(element, trigger, props);
    watch(["value", "words"], () => stage.draw());
  };
})();
