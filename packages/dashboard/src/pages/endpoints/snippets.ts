/**
 * Code that verifies what an endpoint sends, for both schemes of the wire contract (section 2). Each is a whole program
 * or a function that can be taken as it is; the tests run those whose language is at hand against a real delivery.
 */

export type SchemeName = 'standard' | 'jogg';

export const LANGUAGES = ['typescript', 'python', 'go', 'php'] as const;
export type Language = (typeof LANGUAGES)[number];

export const LANGUAGE_NAMES: Record<Language, string> = {
  typescript: 'TypeScript',
  python: 'Python',
  go: 'Go',
  php: 'PHP',
};

/** @param event - a type that the endpoint gets, as the example's handler */
export function snippet(language: Language, scheme: SchemeName, event: string): string {
  return SNIPPETS[language](scheme, event);
}

const SNIPPETS: Record<Language, (scheme: SchemeName, event: string) => string> = {
  typescript: (scheme, event) => `// npm install @posthorn/receiver
import { createServer } from 'node:http';
import { createReceiver } from '@posthorn/receiver';
import { nodeHandler } from '@posthorn/receiver/node';

const receiver = createReceiver<Record<string, any>>({
  secrets: process.env.WEBHOOK_SECRET, // whsec_…; while it is rotated: [newSecret, oldSecret]
  scheme: '${scheme}',
  on: {
    ${JSON.stringify(event).replaceAll('"', "'")}: async (event) => {
      console.log(event.event_id, event.data);
    },
  },
});

createServer(nodeHandler(receiver)).listen(3000);
`,

  python: (scheme) =>
    scheme === 'standard'
      ? `import base64, hashlib, hmac, os, time

KEY = base64.b64decode(os.environ["WEBHOOK_SECRET"].removeprefix("whsec_"))


def verify(headers, body: bytes) -> None:
    """headers: by lower-case name. body: the bytes as they came, before any parser. Raises ValueError."""
    sent_at = headers["webhook-timestamp"]
    if abs(time.time() - int(sent_at)) > 300:
        raise ValueError("webhook-timestamp is more than 5 minutes away")
    signed = f"{headers['webhook-id']}.{sent_at}.".encode() + body
    expected = b"v1," + base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest())
    # Several, separated by spaces, while the secret is rotated.
    given = headers["webhook-signature"].encode().split(b" ")
    if not any([hmac.compare_digest(expected, signature) for signature in given]):
        raise ValueError("webhook-signature does not fit")
`
      : `import hashlib, hmac, os

KEY = os.environ["WEBHOOK_SECRET"].encode()  # the whole text, whsec_ included


def verify(headers, body: bytes) -> None:
    """headers: by lower-case name. body: the bytes as they came, before any parser. Raises ValueError."""
    expected = hmac.new(KEY, body, hashlib.sha256).hexdigest().encode()
    if not hmac.compare_digest(expected, headers["x-webhook-signature"].encode()):
        raise ValueError("x-webhook-signature does not fit")
`,

  go: (scheme) =>
    scheme === 'standard'
      ? `package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Verify takes the request's headers and its body as it came, before any parser.
func Verify(header http.Header, body []byte) error {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(os.Getenv("WEBHOOK_SECRET"), "whsec_"))
	if err != nil {
		return err
	}
	sentAt, err := strconv.ParseInt(header.Get("webhook-timestamp"), 10, 64)
	if err != nil {
		return errors.New("webhook-timestamp is missing or not a number")
	}
	if away := time.Since(time.Unix(sentAt, 0)); away > 5*time.Minute || away < -5*time.Minute {
		return errors.New("webhook-timestamp is more than 5 minutes away")
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(header.Get("webhook-id") + "." + header.Get("webhook-timestamp") + "."))
	mac.Write(body)
	expected := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	// Several, separated by spaces, while the secret is rotated.
	for _, given := range strings.Split(header.Get("webhook-signature"), " ") {
		if hmac.Equal([]byte(expected), []byte(given)) {
			return nil
		}
	}
	return errors.New("webhook-signature does not fit")
}
`
      : `package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"os"
)

// Verify takes the request's headers and its body as it came, before any parser.
func Verify(header http.Header, body []byte) error {
	// The whole text is the key, whsec_ included.
	mac := hmac.New(sha256.New, []byte(os.Getenv("WEBHOOK_SECRET")))
	mac.Write(body)
	expected := hex.EncodeToString(mac.Sum(nil))
	if !hmac.Equal([]byte(expected), []byte(header.Get("x-webhook-signature"))) {
		return errors.New("x-webhook-signature does not fit")
	}
	return nil
}
`,

  php: (scheme) =>
    scheme === 'standard'
      ? `<?php
// The body as it came, before any parser.
$body = file_get_contents('php://input');
$id = $_SERVER['HTTP_WEBHOOK_ID'] ?? '';
$sentAt = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '';

$key = base64_decode(substr(getenv('WEBHOOK_SECRET'), strlen('whsec_')));
$expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$sentAt.$body", $key, true));

$fits = false;
// Several, separated by spaces, while the secret is rotated.
foreach (explode(' ', $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '') as $given) {
    $fits = hash_equals($expected, $given) || $fits;
}
if (!$fits || abs(time() - (int) $sentAt) > 300) {
    http_response_code(401);
    exit('the signature does not fit, or is older than 5 minutes');
}
http_response_code(204);
`
      : `<?php
// The body as it came, before any parser.
$body = file_get_contents('php://input');

// The whole text is the key, whsec_ included.
$expected = hash_hmac('sha256', $body, getenv('WEBHOOK_SECRET'));

if (!hash_equals($expected, $_SERVER['HTTP_X_WEBHOOK_SIGNATURE'] ?? '')) {
    http_response_code(401);
    exit('the signature does not fit');
}
http_response_code(204);
`,
};
