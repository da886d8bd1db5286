// The head of the page: language and light or dark, both remembered on this device.
(() => {
  const { el, icon } = v2m;
  const LANGUAGE = "voice2music.language";
  const THEME = "voice2music.theme";

  const speak = (language) => {
    document.documentElement.lang = language;
    document.documentElement.dir = language === "ar" ? "rtl" : "ltr";
  };

  const preferred = (languages) => {
    const stored = localStorage.getItem(LANGUAGE);
    const wished = [stored, ...(navigator.languages || [])].filter(Boolean);
    const known = wished.map((tag) => tag.slice(0, 2).toLowerCase());
    return known.find((tag) => languages.some(([code]) => code === tag)) || "en";
  };

  const applyTheme = () => {
    const stored = localStorage.getItem(THEME);
    if (stored) document.body.classList.toggle("dark", stored === "dark");
  };

  class Header {
    constructor(element, trigger, props) {
      Object.assign(this, { element, trigger, props });
      this.language = "en";
      applyTheme();
      this.choose(preferred(props.languages)); // also tells the server that somebody is here
    }

    choose(language) {
      this.language = language;
      this.draw();
      localStorage.setItem(LANGUAGE, language);
      speak(language);
      this.trigger("spoken", { language });
    }

    draw() {
      const { words, languages } = this.props;
      document.title = words.title;
      const buttons = languages.map(([code, name]) =>
        el("button", {
          type: "button", lang: code, "aria-pressed": String(code === this.language),
          "data-language": code, onclick: () => this.choose(code),
        }, name));
      const theme = el("button.v-round", {
        type: "button", "aria-label": words.theme, onclick: () => {
          const dark = !document.body.classList.contains("dark");
          localStorage.setItem(THEME, dark ? "dark" : "light");
          applyTheme();
        },
      }, icon("moon"));
      this.element.querySelector(".v-top").replaceChildren(
        el("div", {}, el("h1", {}, "voice2music"), el("p", {}, words.tagline)),
        el("nav.v-tools", { "aria-label": words.language },
          el("div.v-languages", {}, ...buttons), theme));
    }
  }

  v2m.mountHeader = (element, trigger, props, watch) => {
    const header = new Header(element, trigger, props);
    watch("words", () => header.draw());
  };
})();
