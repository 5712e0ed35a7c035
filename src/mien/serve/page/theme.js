// The colour scheme that was chosen here before, set before anything is painted.
try {
  const chosen = localStorage.getItem("mien-theme");
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
} catch {
  // a browser that keeps nothing follows the system
}
