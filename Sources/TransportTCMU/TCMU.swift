/// The kernel's TCM-USER backstores.
public enum TCMU {}
