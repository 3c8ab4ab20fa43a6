// The page around the tabs: the address follows what is looked at, the back button goes back, a tour shows the way.
() => {
  const id = (tab) => tab.textContent.trim().toLowerCase();
  const tabs = () => [...document.querySelectorAll("button[role=tab]")];
  const named = () => new URLSearchParams(location.search).get("tab") || "inspect";
  let going = false; // back or forward: the address is there already

  // What a tab shows belongs to its address only while it is the one that is looked at.
  function go(tab, query = {}) {
    const address = new URL(location.href);
    const kept = [...address.searchParams].filter(([name]) => name.startsWith("__"));
    address.search = new URLSearchParams([...kept, ["tab", tab], ...Object.entries(query)]);
    return address.href;
  }
  document.addEventListener("click", (event) => {
    const tab = event.target.closest?.("button[role=tab]");
    if (!tab || going || id(tab) === named()) return;
    history.pushState(null, "", go(id(tab)));
  });
  // Pressed until it is selected: tabs that are being drawn anew lose a press.
  function follow(tries) {
    const tab = tabs().find((tab) => id(tab) === named());
    if (tab?.getAttribute("aria-selected") === "true" || !tries) return;
    going = true;
    tab?.click();
    going = false;
    setTimeout(() => follow(tries - 1), 50);
  }
  addEventListener("popstate", () => follow(100));
  // The viewer of the first tab tells what it shows.
  addEventListener("fm-link", (event) => {
    if (named() === "inspect") history.replaceState(null, "", go("inspect", event.detail));
  });

  // ---- the tour ----
  const time = () => document.querySelector(".fm .time");
  const set = (selector, value) => {
    const input = document.querySelector(selector);
    if (!input || input.disabled) return;
    input.value = value;
    input.dispatchEvent(new Event("input", { bubbles: true }));
  };
  function guessing(on) { // nothing gives the answer away
    document.querySelector(".fm")?.classList.toggle("guessing", on);
    set(".fm .opacity", on ? 0 : 80);
  }
  const STEPS = [
    [".fm .picture", "<b>Predict.</b> Here is a picture without its heat map. Good or defective? Where would you look?", () => guessing(true)],
    [".fm .controls", "<b>Then scrub.</b> Drag t from noise (0) to the picture (1), or press ▶: the map of what is unlike good pictures builds up.", () => { guessing(false); set(".fm .time", 0); }],
    [".fm .head", "<b>The verdict.</b> The brightest places make the score. Few good pictures exceed the threshold; were you right?", () => set(".fm .time", time()?.max)],
    [".fm .chart", "<b>Ask a place.</b> Click anywhere on a map: its mismatch at each t stands beside the range of good pictures.", () => {}],
    ["#files", "<b>Your turn.</b> Drop a picture here. For parts of your own choose the model “My own good images” and give at least five.", () => {}],
  ];
  let step = -1, panel = null, marked = null;
  function show(next) {
    marked?.classList.remove("tour-here");
    if (next < 0 || next >= STEPS.length) {
      guessing(false);
      panel?.remove();
      [step, panel] = [-1, null];
      return document.querySelector("#tour")?.focus();
    }
    step = next;
    const [selector, words, act] = STEPS[step];
    if (!panel) {
      panel = document.createElement("div");
      panel.id = "tour-panel";
      panel.setAttribute("role", "dialog");
      panel.setAttribute("aria-label", "Tour");
      panel.innerHTML = '<p aria-live="polite"></p><div><span></span><button type="button" data-by="-1">Back</button><button type="button" data-by="1">Next</button><button type="button" data-by="99">Close</button></div>';
      panel.addEventListener("click", (event) => event.target.dataset.by && show(step + +event.target.dataset.by));
      panel.addEventListener("keydown", (event) => event.key === "Escape" && show(-1));
      (document.querySelector(".gradio-container") || document.body).append(panel);
    }
    panel.querySelector("p").innerHTML = words;
    panel.querySelector("span").textContent = `${step + 1} of ${STEPS.length}`;
    panel.querySelector("[data-by='-1']").disabled = step === 0;
    panel.querySelector("[data-by='1']").textContent = step + 1 === STEPS.length ? "Done" : "Next";
    act();
    marked = document.querySelector(selector);
    marked?.classList.add("tour-here");
    marked?.scrollIntoView({ block: "center", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    panel.querySelector("[data-by='1']").focus({ preventScroll: true });
  }
  document.addEventListener("click", (event) => {
    if (event.target.id !== "tour") return;
    if (named() !== "inspect") tabs().find((tab) => id(tab) === "inspect")?.click();
    setTimeout(() => show(0), 100);
  });
}
