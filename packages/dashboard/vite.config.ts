import tailwindcss from '@tailwindcss/vite';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

/** The server that `vite` passes calls to while the page is being worked on. */
const server = process.env.POSTHORN_DEV_SERVER ?? 'http://127.0.0.1:8080';

/** What the server answers itself; the prefixes end in a way that leaves the page's own paths alone. */
const OF_THE_SERVER = '^/(v1|v2|open|dashboard|docs|healthz|readyz|openapi.json|metrics)(/|$|\\?)';

export default defineConfig(({ command }) => ({
  root: import.meta.dirname,
  // Relative: the server says in index.html under which prefix it stands.
  base: command === 'build' ? './' : '/',
  plugins: [react(), tailwindcss()],
  build: {
    outDir: '../server/dist/dashboard',
    emptyOutDir: true,
    // Browsers of 2023 and later: modules, top-level await, color-mix, <dialog>.
    target: ['chrome120', 'firefox121', 'safari17'],
    // Every browser of the target knows it, and the strict content security policy likes less script.
    modulePreload: { polyfill: false },
    // A file is cached for ever, a data: URL is loaded with each page.
    assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
  server: {
    host: '127.0.0.1',
    proxy: { [OF_THE_SERVER]: { target: server } },
  },
}));
