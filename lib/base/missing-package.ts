/**
 * For the import of a package that need not be installed: says which option wants it, and how to get it.
 *
 * @throws TypeError, always
 */
export function explainMissing (option: string, name: string): (cause: unknown) => never {
  return (cause) => {
    throw new TypeError(`Option "${option}" needs the package ${name}: npm install ${name}`, { cause })
  }
}
