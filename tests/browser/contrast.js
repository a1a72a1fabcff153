// SPDX-License-Identifier: Apache-2.0
// The texts on the page whose contrast with what is behind them is below WCAG's AA.
// https://www.w3.org/TR/WCAG22/#contrast-minimum
(() => {
  const numbers = (color) => {
    const found = color.match(/[\d.]+/g).map(Number);
    return found.length === 3 ? [...found, 1] : found;
  };
  const over = (front, back) =>
    [0, 1, 2].map((i) => front[i] * front[3] + back[i] * (1 - front[3])).concat(1);
  const luminance = (color) =>
    color
      .slice(0, 3)
      .map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
      .reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    const layers = [];
    for (let one = element; one !== null; one = one.parentElement) {
      layers.push(numbers(getComputedStyle(one).backgroundColor));
    }
    return layers.reverse().reduce((back, front) => over(front, back), [255, 255, 255, 1]);
  };
  const found = new Map();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
    const element = node.parentElement;
    const text = node.textContent.trim();
    if (!text || !element.checkVisibility() || element.closest(".unseen, caption, [aria-hidden], thead, .skip")) continue;
    const style = getComputedStyle(element);
    let opacity = 1;
    for (let one = element; one !== null; one = one.parentElement) {
      opacity *= Number(getComputedStyle(one).opacity);
    }
    const back = behind(element);
    const colour = numbers(element instanceof SVGElement ? style.fill : style.color);
    colour[3] *= opacity;
    const [low, high] = [luminance(over(colour, back)), luminance(back)].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) found.set(`${style.color} ${back}`, `${text.slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return [...found.values()];
})();
