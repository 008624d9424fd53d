/**
 * What `audit.html` runs: the chain check over the lines that are in the page. Plain old JavaScript,
 * with SHA-256 (FIPS 180-4) in it, because `crypto.subtle` is not there for a file in every browser.
 */
export const auditScript = `'use strict';
function sha256(text) {
  var k = [], h = [], isComposite = {}, n = 2, i, j;
  for (; k.length < 64; n++) {
    if (isComposite[n]) continue;
    for (i = n * n; i < 320; i += n) isComposite[i] = true;
    if (h.length < 8) h.push((Math.pow(n, 1 / 2) * 4294967296) | 0);
    k.push((Math.pow(n, 1 / 3) * 4294967296) | 0);
  }
  var bytes = new TextEncoder().encode(text);
  var padded = new Uint8Array(((bytes.length + 8 >> 6) + 1) * 64);
  padded.set(bytes);
  padded[bytes.length] = 128;
  var view = new DataView(padded.buffer);
  view.setUint32(padded.length - 8, Math.floor(bytes.length / 536870912));
  view.setUint32(padded.length - 4, bytes.length << 3);
  var turn = function (x, by) { return x >>> by | x << 32 - by; };
  var w = new Int32Array(64);
  for (j = 0; j < padded.length; j += 64) {
    for (i = 0; i < 64; i++) {
      if (i < 16) { w[i] = view.getInt32(j + i * 4); continue; }
      var a = w[i - 15], b = w[i - 2];
      w[i] = w[i - 16] + (turn(a, 7) ^ turn(a, 18) ^ a >>> 3) + w[i - 7] + (turn(b, 17) ^ turn(b, 19) ^ b >>> 10);
    }
    var s = h.slice();
    for (i = 0; i < 64; i++) {
      var e = s[4], c = s[0];
      var one = s[7] + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + (e & s[5] ^ ~e & s[6]) + k[i] + w[i] | 0;
      var two = (turn(c, 2) ^ turn(c, 13) ^ turn(c, 22)) + (c & s[1] ^ c & s[2] ^ s[1] & s[2]) | 0;
      s = [one + two | 0, s[0], s[1], s[2], s[3] + one | 0, s[4], s[5], s[6]];
    }
    for (i = 0; i < 8; i++) h[i] = h[i] + s[i] | 0;
  }
  return h.map(function (x) { return ('0000000' + (x >>> 0).toString(16)).slice(-8); }).join('');
}
function checkChain(lines) {
  var previous = '';
  for (var i = 0; i < lines.length; i++) {
    var entry = null;
    try { entry = JSON.parse(lines[i]); } catch (error) { entry = null; }
    var parts = /^(.*),"hash":"([0-9a-f]{64})"}$/.exec(lines[i]);
    if (!entry || entry.seq !== i + 1 || entry.prev !== sha256(previous) ||
        !parts || sha256(parts[1] + '}') !== parts[2])
      return { ok: false, line: i + 1 };
    previous = lines[i];
  }
  return { ok: true, head: sha256(previous) };
}
if (typeof document !== 'undefined') {
  var lines = JSON.parse(document.getElementById('journal').textContent);
  var result = checkChain(lines);
  var place = document.getElementById('chain');
  place.className = result.ok ? 'good' : 'bad';
  place.textContent = result.ok
    ? 'Whole: each of the ' + lines.length + ' lines holds its own hash and that of the one before.'
    : 'Broken: line ' + result.line + ' was changed or is missing.';
  if (result.ok) document.getElementById('head').textContent = result.head;
}
`;
