/** The prefix under which the server stands inside another one: `/webhooks`, or empty. `index.html` says it. */
export const BASE = document.querySelector<HTMLMetaElement>('meta[name="posthorn-base"]')?.content ?? '';
