// Before anything is painted: whoever chose light or dark sees no flash of the other. A file of its own, because the
// content security policy lets no inline script run.
try {
  const theme = localStorage.getItem('posthorn-theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // Storage is switched off: the system's preference holds.
}
