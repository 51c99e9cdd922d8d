// Formatting of numbers for display.

const integerFormat = new Intl.NumberFormat("en");
const compactFormat = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

/** An integer with thousands separators. */
export const formatInteger = (value) => integerFormat.format(value);

/** An integer below one million in full; any other number with three significant digits. */
export const formatCompact = (value) =>
  value < 1e6 && Number.isInteger(value) ? formatInteger(value) : compactFormat.format(value);

/** A probability as a percentage. */
export function formatPercent(probability) {
  if (probability === 0) return "0%";
  if (probability < 0.00001) return "<\u202f0.001%";
  const value = 100 * probability;
  if (probability > 0.9995) return "100%";
  return `${value >= 10 ? value.toFixed(1) : value.toPrecision(2)}%`;
}

/** A count followed by a noun in the singular or plural. */
export const formatCount = (count, noun) => `${formatInteger(count)} ${noun}${count === 1 ? "" : "s"}`;
