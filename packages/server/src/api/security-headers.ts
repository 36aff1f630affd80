/**
 * The headers that keep a browser from doing anything with an answer but read it. They are what helmet gives, with our
 * content security policy (a test compares the two): helmet makes them anew for each answer, which took a tenth of the
 * time of a publish. No `strict-transport-security`: TLS ends at the proxy in front, and whether its domain is all https
 * is not ours to say.
 */
export const SECURITY_HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy': "default-src 'none';frame-ancestors 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'origin-agent-cluster': '?1',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-dns-prefetch-control': 'off',
  'x-download-options': 'noopen',
  'x-frame-options': 'SAMEORIGIN',
  'x-permitted-cross-domain-policies': 'none',
  'x-xss-protection': '0',
};
