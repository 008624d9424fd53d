import { describe, expect, it } from 'vitest';
import { printable } from './printable.ts';

describe('printable', () => {
  it.each([
    ['plain and "quoted"', 'plain and "quoted"'],
    ['Entwürfe 🍎', 'Entwürfe 🍎'],
    ['two\nlines', 'two\\nlines'],
    ['\x1b[31mred', '\\x1b[31mred'],
    ['a\u2028b', 'a\\xe2\\x80\\xa8b'],
  ])('shows %j', (text, shown) => {
    expect(printable(text)).toBe(shown);
  });

  it('shows bytes that are no UTF-8 beside such that are', () => {
    const bytes = Buffer.concat([Buffer.from('ü '), Buffer.from([0xff, 0xfe, 0xc3, 0x28, 0x0a])]);
    expect(printable(bytes)).toBe('ü \\xff\\xfe\\xc3(\\n');
  });
});
