// Not a module: it runs before the first paint, so that the chosen theme does not flash.
document.documentElement.dataset.theme = localStorage.getItem("theme") ?? "";
