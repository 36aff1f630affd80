#!/usr/bin/env node
// An old Node must be able to read this file and say what is wrong, so nothing in it is newer than Node 12.
var version = process.versions.node.split('.').map(Number);

if (version[0] > 22 || (version[0] === 22 && version[1] >= 19)) {
  void import('../dist/cli/main.js').then(function (cli) {
    return cli.runAsProcess();
  });
} else {
  console.error(
    'posthorn: Node.js ' +
      process.versions.node +
      ' is too old. Install Node.js 22.19 or newer (https://nodejs.org), then run this command again.',
  );
  process.exitCode = 2;
}
