// The benchmark measures what users run: the build, not the sources as a loader translates them.
const entry = new URL('../dist/index.js', import.meta.url).href

/** The built package; `npm run build` makes it. */
export const built: typeof import('../index.js') = await import(entry)
