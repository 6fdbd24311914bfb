// The theme, the folded code, a hint at wide boxes, and tables that can be sorted. Nothing is loaded or sent.
(() => {
  const root = document.documentElement;
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  document.getElementById("theme").addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; });
  const button = document.getElementById("code");
  if (button) button.addEventListener("click", () => {
    const open = button.getAttribute("aria-pressed") !== "true";
    document.querySelectorAll("details.code").forEach((cell) => { cell.open = open; });
    button.setAttribute("aria-pressed", String(open));
    button.textContent = open ? "Hide code" : "Show code";
  });
  const boxes = document.querySelectorAll(".output, .figure, .formula, .scroll");
  const mark = () => boxes.forEach((box) => box.classList.toggle("wide", box.scrollWidth > box.clientWidth + 1));
  addEventListener("resize", mark);
  addEventListener("load", mark);
  const value = (row, place) => row.cells[place].dataset.value ?? row.cells[place].textContent;
  const order = new Intl.Collator(undefined, { numeric: true }).compare;
  document.querySelectorAll("th button").forEach((sorter) => sorter.addEventListener("click", () => {
    const head = sorter.closest("th"), body = head.closest("table").tBodies[0], place = head.cellIndex;
    const down = head.getAttribute("aria-sort") !== "descending";
    head.parentNode.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const compared = (one, other) => {
      const [a, b] = [value(one, place), value(other, place)];
      if (a === "" || b === "") return (a === "") - (b === "");  // a missing value is last in both orders
      const less = Number.isNaN(Number(a) - Number(b)) ? order(a, b) : a - b;
      return down ? -less : less;
    };
    body.append(...[...body.rows].sort(compared));
  }));
})();
