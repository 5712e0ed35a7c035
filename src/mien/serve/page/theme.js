// Sets the colour scheme that was chosen before, before anything is painted.
try {
  const chosen = localStorage.getItem("mien-theme");
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
} catch {
  // a browser without storage follows the system
}
