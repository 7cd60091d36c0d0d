/** Whether a host is this machine: 127.0.0.0/8 and ::1, RFC 6890; the names below localhost, RFC 6761, section 6.3. */
export function isLoopback (name: string | undefined): boolean {
  if (name === undefined) return false
  return name === 'localhost' || name.endsWith('.localhost') ||
    name === '::1' || name === '[::1]' || /^(?:::ffff:)?127(?:\.\d{1,3}){3}$/.test(name)
}
